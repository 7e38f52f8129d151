import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentStatus } from '../../src/agent/status.ts';
import { INSTALLATION } from '../../src/installation.ts';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';
import { REFERENCE } from '../cni/reference.ts';
import { eventually } from '../store/servers.ts';
import { startEtcdStore } from './etcd-store.ts';
import type { FlannelStore, StoreSite } from './flannel-store.ts';
import { FLANNELD, PORTMAP } from './programs.ts';

/** Where libcni, flannel's plugin and host-local keep their files, as below `/var/lib/cni`. */
type Folders = Readonly<Record<'cni' | 'conf' | 'bin' | 'run' | 'state', string>>;

export type FlannelPod = { readonly id: string; readonly netns: string; readonly ip: Ip };

let count = 0;

/** Nodes of flannel on one network, with a real store: each a network namespace. */
export class FlannelCluster implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), `flatnet-takeover-${process.pid}-`));
  /** The network between them, where the outside is. */
  readonly fabric = `tf${process.pid}x${count++}`;
  readonly nodes: FlannelNode[] = [];
  readonly network: string;
  #store: FlannelStore | undefined;

  private constructor(network: string) {
    this.network = network;
  }

  /** `network`: its name in the runtime's configuration. */
  static async start(
    size: number,
    netConf: object,
    network = 'cbr0',
    startStore: (site: StoreSite) => Promise<FlannelStore> = startEtcdStore,
  ): Promise<FlannelCluster> {
    const cluster = new FlannelCluster(network);
    const { dir, fabric, nodes } = cluster;
    try {
      cluster.#makeFabric();
      const store = await startStore({ dir, fabric, netConf });
      cluster.#store = store;
      for (let index = 1; index <= size; index++) {
        const node = new FlannelNode(cluster, index, store);
        nodes.push(node);
        await store.join({ name: node.name, netns: node.netns, index });
      }
      for (const node of nodes) await node.startFlanneld();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  #makeFabric(): void {
    createNetns(this.fabric);
    ip(this.fabric, 'link add br0 type bridge');
    ip(this.fabric, 'link set br0 up');
    ip(this.fabric, 'link set lo up');
    ip(this.fabric, 'address add 10.99.0.254/24 dev br0');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node.end();
    await this.#store?.end();
    deleteNetns(this.fabric);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A node: flanneld and reference plugins at first. */
export class FlannelNode {
  readonly name: string;
  readonly netns: string;
  readonly folders: Folders;
  readonly pods: FlannelPod[] = [];
  readonly #cluster: FlannelCluster;
  readonly address: string;
  #flanneld: ChildProcess | undefined;
  #agent: ChildProcess | undefined;
  log = '';

  readonly #store: FlannelStore;

  constructor(cluster: FlannelCluster, index: number, store: FlannelStore) {
    this.#cluster = cluster;
    this.#store = store;
    this.name = `node${index}`;
    this.netns = `${cluster.fabric}n${index}`;
    this.address = `10.99.0.${index}`;
    const dir = join(cluster.dir, this.name);
    this.folders = {
      cni: join(dir, 'cni'),
      conf: join(dir, 'net.d'),
      bin: join(dir, 'bin'),
      run: join(dir, 'run'),
      state: join(dir, 'state'),
    };
    for (const folder of Object.values(this.folders)) mkdirSync(folder, { recursive: true });
    this.#makeNetns(index);
    writeFileSync(join(this.folders.conf, '10-flannel.conflist'), JSON.stringify(confList(cluster.network)));
    const { state, run, conf: cniConf, bin: cniBin, cni } = this.folders;
    const paths = {
      run,
      state,
      subnetFile: this.subnetFile,
      cniConf,
      cniBin,
      cniData: join(cni, 'networks'),
    };
    const options = { node: this.name, store: store.agent, iface: 'eth0', paths };
    writeFileSync(this.config, JSON.stringify(options));
  }

  #makeNetns(index: number): void {
    const { fabric } = this.#cluster;
    createNetns(this.netns);
    ip(fabric, `link add port${index} type veth peer name eth0 netns ${this.netns}`);
    ip(fabric, `link set port${index} master br0 up`);
    this.ip(`address add ${this.address}/24 dev eth0`);
    this.ip('link set eth0 up');
    this.ip('link set lo up');
    this.ip('route add default via 10.99.0.254');
  }

  get config(): string {
    return join(this.folders.run, 'agent.json');
  }

  get subnetFile(): string {
    return join(this.folders.run, 'subnet.env');
  }

  ip(command: string): string {
    return ip(this.netns, command);
  }

  run(...command: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.netns, ...command], { encoding: 'utf8' });
  }

  async startFlanneld(): Promise<void> {
    rmSync(this.subnetFile, { force: true });
    const flags = [...this.#store.flanneld, `--subnet-file=${this.subnetFile}`, '--iface=eth0', '--ip-masq'];
    this.#flanneld = this.#spawn(FLANNELD.path, ...flags);
    const isUp = eventually(() => existsSync(this.subnetFile), 30_000);
    await isUp.catch(() => Promise.reject(new Error(`flanneld on ${this.name}: ${this.log}`)));
  }

  async stopFlanneld(): Promise<void> {
    await stop(this.#flanneld);
    this.#flanneld = undefined;
  }

  async startAgent(): Promise<void> {
    this.#agent = this.#spawn(INSTALLATION.program, 'agent', '--config', this.config);
    const confList = join(this.folders.conf, '10-flatnet.conflist');
    await eventually(() => existsSync(confList) && this.status()?.ready === true, 60_000);
  }

  async stopAgent(): Promise<void> {
    await stop(this.#agent);
    this.#agent = undefined;
  }

  status(): AgentStatus | undefined {
    const { stdout } = this.flatnet('status', '--socket', join(this.folders.run, 'agent.sock'), '--json');
    return stdout.startsWith('{') ? JSON.parse(stdout) : undefined;
  }

  flatnet(...args: string[]): { stdout: string; stderr: string; status: number | null } {
    return spawnSync('ip', ['netns', 'exec', this.netns, INSTALLATION.program, ...args], {
      encoding: 'utf8',
    });
  }

  takeover(...flags: string[]): { stdout: string; stderr: string; status: number | null } {
    return this.flatnet('takeover', 'flannel', '--config', this.config, ...flags);
  }

  /** Undefined with host-gw. */
  tunnelMac(): string | undefined {
    const path = '/sys/class/net/flannel.1/address';
    const { stdout } = spawnSync('ip', ['netns', 'exec', this.netns, 'cat', path], { encoding: 'utf8' });
    return stdout.trim() || undefined;
  }

  /** As flannel's plugin knows it. */
  subnet(): string | undefined {
    return /^FLANNEL_SUBNET=(.*)$/m.exec(readFileSync(this.subnetFile, 'utf8'))?.[1];
  }

  /** The addresses that host-local's files reserve. */
  reserved(): string[] {
    const networks = join(this.folders.cni, 'networks');
    const files = readdirSync(networks).flatMap((name) => readdirSync(join(networks, name)));
    return files.filter((name) => /^[\d.]+$/.test(name));
  }

  /** What the way back needs to be there; `flannel` itself is done by this class. */
  installFlannelsPlugins(): void {
    for (const name of ['bridge', 'host-local', 'portmap'])
      cpSync(join(REFERENCE, name), join(this.folders.bin, name));
    writeFileSync(join(this.folders.bin, 'flannel'), '');
  }

  /** As a runtime with libcni: by the first configuration in the folder, and it remembers the result. */
  addPod(capabilities: object = {}, portmap: 'iptables' | 'nftables' = 'iptables'): FlannelPod {
    const id = `${this.netns}p${this.pods.length}`;
    const netns = `${id}.pod`;
    createNetns(netns);
    execFileSync('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    const result = this.#cni('ADD', id, netns);
    if ('portMappings' in capabilities) this.#portmap(id, netns, portmap, capabilities, result);
    const pod = { id, netns, ip: parseIp(String(result?.ips?.[0]?.address).split('/')[0] ?? '') };
    this.pods.push(pod);
    const cached = {
      kind: 'cniCacheV1',
      containerId: id,
      ifName: 'eth0',
      networkName: this.#network,
      netns: netnsPath(netns),
      cniArgs: [
        ['K8S_POD_NAMESPACE', 'default'],
        ['K8S_POD_NAME', id],
      ],
      capabilityArgs: capabilities,
      result,
    };
    mkdirSync(join(this.folders.cni, 'results'), { recursive: true });
    writeFileSync(join(this.folders.cni, 'results', `${this.#network}-${id}-eth0`), JSON.stringify(cached));
    return pod;
  }

  /** The second plugin of flannel's configuration. */
  #portmap(
    id: string,
    netns: string,
    backend: 'iptables' | 'nftables',
    runtimeConfig: object,
    prevResult: object | undefined,
  ): void {
    const env = {
      ...process.env,
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: id,
      CNI_IFNAME: 'eth0',
      CNI_NETNS: netnsPath(netns),
      CNI_PATH: REFERENCE,
    };
    const conf = { cniVersion: '0.3.1', name: this.#network, type: 'portmap', runtimeConfig, prevResult };
    const isNew = backend === 'nftables';
    const plugin = isNew ? PORTMAP.path : join(REFERENCE, 'portmap');
    const { stdout, status } = spawnSync('ip', ['netns', 'exec', this.netns, plugin], {
      env,
      input: JSON.stringify(isNew ? { ...conf, backend } : conf),
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`portmap ADD ${id}: ${stdout}`);
  }

  removePod(pod: FlannelPod): void {
    this.#cni('DEL', pod.id, pod.netns);
    for (const name of ['cbr0', this.#cluster.network])
      rmSync(join(this.folders.cni, 'results', `${name}-${pod.id}-eth0`), { force: true });
    deleteNetns(pod.netns);
    this.pods.splice(this.pods.indexOf(pod), 1);
  }

  #cni(command: 'ADD' | 'DEL', id: string, netns: string): CniResult | undefined {
    const isFlannels = this.#isFlannels;
    const env = {
      ...process.env,
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_IFNAME: 'eth0',
      CNI_NETNS: netnsPath(netns),
      CNI_PATH: REFERENCE,
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}`,
    };
    const scratch = join(this.folders.cni, 'flannel', id);
    let plugin = join(this.folders.bin, 'flatnet');
    let conf: string;
    if (isFlannels) {
      plugin = join(REFERENCE, 'bridge');
      if (command === 'ADD') {
        mkdirSync(join(this.folders.cni, 'flannel'), { recursive: true, mode: 0o700 });
        writeFileSync(scratch, JSON.stringify(this.#delegate()), { mode: 0o600 });
      }
      // As flannel's plugin: nothing to undo without the file.
      if (!existsSync(scratch)) return undefined;
      conf = readFileSync(scratch, 'utf8');
    } else {
      const list = JSON.parse(readFileSync(join(this.folders.conf, '10-flatnet.conflist'), 'utf8'));
      conf = JSON.stringify({ ...list.plugins[0], name: list.name, cniVersion: list.cniVersion });
    }
    const { stdout, status } = spawnSync('ip', ['netns', 'exec', this.netns, plugin], {
      env,
      input: conf,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`${plugin} ${command} ${id}: ${stdout}`);
    if (command === 'DEL') rmSync(scratch, { force: true });
    return stdout.trim() === '' ? undefined : JSON.parse(stdout);
  }

  get #isFlannels(): boolean {
    return existsSync(join(this.folders.conf, '10-flannel.conflist'));
  }

  /** The name of the network in the first configuration. */
  get #network(): string {
    return this.#isFlannels ? this.#cluster.network : 'cbr0';
  }

  /** What flannel's plugin passes to the plugin bridge. */
  #delegate(): object {
    const env = new Map(
      readFileSync(this.subnetFile, 'utf8')
        .split('\n')
        .map((line) => line.split('=') as [string, string]),
    );
    const subnet = env.get('FLANNEL_SUBNET')?.replace(/\.1\//, '.0/');
    return {
      cniVersion: '0.3.1',
      hairpinMode: true,
      ipMasq: false,
      ipam: {
        dataDir: join(this.folders.cni, 'networks'),
        ranges: [[{ subnet }]],
        routes: [{ dst: env.get('FLANNEL_NETWORK') }],
        type: 'host-local',
      },
      isDefaultGateway: true,
      isGateway: true,
      mtu: Number(env.get('FLANNEL_MTU')),
      name: this.#cluster.network,
      type: 'bridge',
    };
  }

  #spawn(...argv: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.netns, ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_NAME: this.name },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.log = (this.log + chunk).slice(-20_000)));
    }
    return child;
  }

  async end(): Promise<void> {
    await stop(this.#agent);
    await stop(this.#flanneld);
    // What carries packets outlives an agent.
    const left = execFileSync('ip', ['netns', 'pids', this.netns], { encoding: 'utf8' }).match(/\d+/g) ?? [];
    for (const pid of left) process.kill(Number(pid), 'SIGKILL');
    for (const { netns } of this.pods) deleteNetns(netns);
    deleteNetns(this.netns);
  }
}

type CniResult = { readonly ips?: readonly { readonly address: string }[] };

const confList = (name: string): object => ({
  name,
  cniVersion: '0.3.1',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
});

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

function ip(netns: string, command: string): string {
  return execFileSync('ip', ['-n', netns, ...command.split(' ')], { encoding: 'utf8' });
}
