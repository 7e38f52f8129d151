import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { AgentStatus } from '../../../src/agent/status.ts';
import { eventually } from '../../store/servers.ts';
import { PAUSE } from './archive.ts';
import { component } from './component.ts';
import type { ControlPlane } from './control-plane.ts';
import { DNS, listed, PODS } from './networks.ts';
import { Service } from './service.ts';
import type { Switch } from './switch.ts';

const run = promisify(execFile);

const SOCKET = '/run/containerd/containerd.sock';
const FLATNET = join(import.meta.dirname, '../../../bin/flatnet');

/** Where agents in pods find the plugins' folders of their own node. */
export const [CNI_BIN, CNI_CONF] = ['/run/cni/bin', '/run/cni/net.d'];

export type NodeSetup = {
  readonly network: Switch;
  readonly plane: ControlPlane;
  /** What pods run, for `ctr images import`. */
  readonly archives: readonly string[];
  /** Whether the agent is a service of the node; otherwise what the cluster runs brings a pod network. */
  readonly ownAgent: boolean;
  /** The agent's, with the rights that are shipped. */
  readonly kubeconfig: string;
};

/** A machine with containerd, a kubelet, kube-proxy and an agent, in namespaces of its own. */
export class KubeletNode {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly #setup: NodeSetup;
  readonly #folder: string;
  readonly #number: number;
  readonly #boot: Service;
  #init = 0;
  #services: Record<'containerd' | 'kubelet' | 'proxy' | 'agent', Service> | undefined;

  /** Not started yet: see `boot`. */
  constructor(setup: NodeSetup, number: number) {
    const { network } = setup;
    this.name = `node${number}`;
    this.addresses = network.addresses(10 + number);
    this.#setup = setup;
    this.#number = 10 + number;
    this.#folder = join(network.folder, this.name);
    for (const path of ['cni', 'bin', 'manifests']) mkdirSync(join(this.#folder, path), { recursive: true });
    const namespaces = ['unshare', '--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child'];
    const script = [join(import.meta.dirname, 'boot.sh'), this.name, this.#folder, network.name];
    const enter = ['ip', 'netns', 'exec', network.netns(this.name)];
    this.#boot = new Service([...enter, ...namespaces, ...script], this.#log('boot'));
    this.#configure();
  }

  /** Starts it and everything on it, as after power-on. */
  async boot(): Promise<void> {
    await this.#setup.network.connect(this.name, this.#number);
    const booted = join(this.#folder, 'booted');
    rmSync(booted, { force: true });
    this.#boot.start();
    await this.#boot.until(() => existsSync(booted));
    this.#init = await this.#boot.pid();
    const at = (file: string) => join(this.#folder, file);
    const [kubeconfig, proxy] = [
      this.#setup.plane.kubeconfig(`system:node:${this.name}`, 'system:nodes'),
      component('kube-proxy'),
    ];
    this.#services = {
      containerd: this.#service('containerd', ['containerd', '-c', at('containerd.toml')]),
      kubelet: this.#service('kubelet', [
        component('kubelet'),
        `--config=${at('kubelet.json')}`,
        `--kubeconfig=${kubeconfig}`,
        `--hostname-override=${this.name}`,
        `--node-ip=${this.addresses.join(',')}`,
      ]),
      proxy: this.#service('kube-proxy', [proxy, `--config=${at('proxy.json')}`]),
      agent: this.#service('agent', [FLATNET, 'agent', '--config', at('agent.json')]),
    };
    await this.startContainerd();
    this.#services.kubelet.start();
    this.#services.proxy.start();
    if (this.#setup.ownAgent) this.#services.agent.start();
  }

  /** Cuts the power: all processes die at once, and nothing is left but what is on disk. */
  async crash(): Promise<void> {
    process.kill(this.#init, 'SIGKILL');
    await this.stop();
    await this.#setup.network.disconnect(this.name);
  }

  async stop(): Promise<void> {
    await this.#boot.stop();
  }

  async startContainerd(): Promise<void> {
    const { containerd } = this.#running();
    containerd.start();
    const ctr = ['ctr', `--address=${SOCKET}`];
    await containerd.until(() =>
      this.exec(...ctr, 'version').then(
        () => true,
        () => false,
      ),
    );
    for (const archive of this.#setup.archives) {
      await this.exec(...ctr, '--namespace=k8s.io', 'images', 'import', archive);
    }
  }

  async restartContainerd(): Promise<void> {
    await this.#running().containerd.stopChild('SIGKILL');
    await this.startContainerd();
  }

  async restartKubelet(): Promise<void> {
    const { kubelet } = this.#running();
    await kubelet.stopChild('SIGKILL');
    kubelet.start();
  }

  /** Ends the agent and starts the next one, as an upgrade does, and waits until it is ready. */
  async restartAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { agent } = this.#running();
    await agent.stopChild(signal);
    agent.start();
    await this.untilReady();
  }

  async untilReady(): Promise<AgentStatus> {
    let last: AgentStatus | undefined;
    try {
      return await eventually(async () => {
        last = await this.status().catch(() => undefined);
        return last?.ready ? last : undefined;
      }, 120_000);
    } catch {
      const said = last ? JSON.stringify(last) : this.#running().agent.tail();
      throw new Error(`${this.name} is not ready: ${said}`);
    }
  }

  /** `flatnet status`, which also answers when it exits with 1. */
  async status(): Promise<AgentStatus> {
    const argv = this.#enter(FLATNET, 'status', '--json');
    const answer = await run('nsenter', argv).catch((error: { stdout?: string }) => error);
    return JSON.parse(answer.stdout ?? '') as AgentStatus;
  }

  /** What `flatnet diff` says when the kernel is not as it should be; empty otherwise. */
  async diff(): Promise<string> {
    const answer = await this.exec(FLATNET, 'diff', '--json').catch(
      (error: { stdout?: string }) => error.stdout,
    );
    return (answer ?? '').trim();
  }

  /** Runs a program on the node, and returns what it prints. */
  async exec(...argv: readonly string[]): Promise<string> {
    const { stdout } = await run('nsenter', this.#enter(...argv), { maxBuffer: 1 << 24 });
    return stdout;
  }

  /** The command that runs a program in the network namespace of the pod with this address. */
  async inPod(address: string): Promise<readonly string[]> {
    const { pods } = await this.status();
    const pod = pods.find(({ addresses }) => addresses.some((own) => own === address));
    if (!pod) throw new Error(`no pod on ${this.name} has the address ${address}`);
    return ['nsenter', ...this.#enter('ip', 'netns', 'exec', basename(pod.netns))];
  }

  /** Whether a command succeeds in a pod; `within` from `inPod`. */
  async tryIn(within: readonly string[], ...argv: readonly string[]): Promise<boolean> {
    const [program = '', ...args] = [...within, ...argv];
    return run(program, args).then(
      () => true,
      () => false,
    );
  }

  /** Gives the kubelet a pod that the API server need not know of. */
  manifest(name: string, pod: object): void {
    writeFileSync(join(this.#folder, 'manifests', `${name}.json`), JSON.stringify(pod));
  }

  /** Writes the configurations of what runs on it. */
  #configure(): void {
    const { network, plane, kubeconfig } = this.#setup;
    const at = (file: string) => join(this.#folder, file);
    const write = (file: string, value: object) => writeFileSync(at(file), JSON.stringify(value));
    const [bin, conf] = this.#setup.ownAgent ? [at('bin'), at('cni')] : [CNI_BIN, CNI_CONF];
    writeFileSync(at('containerd.toml'), containerdConfig(bin, conf));
    write('kubelet.json', {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      // Both families: its default is IPv4 alone.
      address: '::',
      containerRuntimeEndpoint: `unix://${SOCKET}`,
      authentication: { anonymous: { enabled: false }, x509: { clientCAFile: plane.authority.ca } },
      authorization: { mode: 'Webhook' },
      staticPodPath: at('manifests'),
      resolvConf: '/run/resolv.conf',
      clusterDNS: network.families.slice(0, 1).map((family) => DNS[family]),
      clusterDomain: 'cluster.local',
      // This node's part of the machine.
      cgroupDriver: 'cgroupfs',
      cgroupRoot: `/${network.name}/${this.name}`,
      failCgroupV1: false,
      failSwapOn: false,
      oomScoreAdj: 0,
      evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
      imageGCHighThresholdPercent: 100,
      // Sooner than by default, so that tests need not wait.
      nodeStatusUpdateFrequency: '5s',
      syncFrequency: '10s',
    });
    write('proxy.json', {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode: 'nftables',
      hostnameOverride: this.name,
      clusterCIDR: listed(network.families, PODS),
      clientConnection: { kubeconfig: plane.kubeconfig('system:kube-proxy') },
      // The limits are the machine's.
      conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
      oomScoreAdj: 0,
    });
    write('agent.json', {
      node: this.name,
      store: { kubernetes: { kubeconfig } },
      paths: { cniConf: at('cni'), cniBin: at('bin') },
    });
  }

  /** Takes it away again. */
  withdraw(name: string): void {
    rmSync(join(this.#folder, 'manifests', `${name}.json`));
  }

  #running() {
    if (!this.#services) throw new Error(`${this.name} was not started`);
    return this.#services;
  }

  #log(name: string): string {
    return join(this.#folder, `${name}.log`);
  }

  #enter(...argv: readonly string[]): readonly string[] {
    return [`--target=${this.#init}`, '--mount', '--net', '--ipc', '--uts', ...argv];
  }

  #service(name: string, argv: readonly string[]): Service {
    return new Service(['nsenter', '--pid', ...this.#enter(...argv)], this.#log(name));
  }
}

/** By default, it would also make a folder in the machine's own /opt. */
function containerdConfig(bin: string, conf: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[grpc]
address = "${SOCKET}"
[${cri}]
sandbox_image = "${PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
[${cri}.cni]
bin_dir = "${bin}"
conf_dir = "${conf}"
[${cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[${cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
`;
}
