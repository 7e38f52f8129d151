import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Node } from '../../../src/cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../../../src/cluster/resources.ts';
import type { BgpFacts, BgpPool, Gateway } from '../../../src/companions/bird/configuration/facts.ts';
import { birdConfig } from '../../../src/companions/bird/configuration/render.ts';
import { Bird } from '../../../src/companions/bird/daemon/bird.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { type Cidr, parseCidr } from '../../../src/ip/cidr.ts';
import { createNetns, deleteNetns, netnsPath } from '../../../src/linux/netns.ts';
import { argvOf, identify, killNow } from '../../../src/linux/process.ts';
import { SILENT } from '../../../src/log.ts';
import { tunnelMacsOf } from '../../backends/tunnel-macs.ts';
import { BIRD } from './bird.ts';

/**
 * Machines in separate namespaces on one or two networks joined by a router; removed with all their processes
 * when the test ends.
 */
export class Underlay {
  readonly folder: string;
  readonly #prefix: string;
  readonly #t: TestContext;
  readonly #processes: ChildProcess[] = [];

  constructor(t: TestContext) {
    this.#t = t;
    this.#prefix = `bgp-${process.pid}-${count++}`;
    this.folder = mkdtempSync(join(tmpdir(), `flatnet-${this.#prefix}-`));
    t.after(async () => {
      await this.#end();
      rmSync(this.folder, { recursive: true, force: true });
    });
    this.#namespace('router');
    this.run('router', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    for (const network of [1, 2]) {
      this.run('router', 'ip', 'link', 'add', `br${network}`, 'type', 'bridge');
      this.run('router', 'ip', 'address', 'add', `10.0.${network}.254/24`, 'dev', `br${network}`);
      this.run('router', 'ip', 'address', 'add', `fd00:${network}::254/64`, 'dev', `br${network}`, 'nodad');
      this.run('router', 'ip', 'link', 'set', `br${network}`, 'up');
    }
  }

  netns(name: string): string {
    return netnsPath(`${this.#prefix}-${name}`);
  }

  /**
   * A machine at 10.0.`network`.`host` (fd00:`network`::`host`), with `tunl0`, an interface that stands for
   * the tunnel.
   */
  machine(name: string, network: 1 | 2, host: number): void {
    this.#namespace(name);
    const there = `${this.#prefix}-${name}`;
    const port = `p${network}-${host}`;
    this.run('router', 'ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', there);
    this.run('router', 'ip', 'link', 'set', port, 'master', `br${network}`, 'up');
    this.run(name, 'ip', 'address', 'add', `10.0.${network}.${host}/24`, 'dev', 'eth0');
    this.run(name, 'ip', 'address', 'add', `fd00:${network}::${host}/64`, 'dev', 'eth0', 'nodad');
    this.run(name, 'ip', 'link', 'set', 'eth0', 'up');
    this.run(name, 'ip', 'link', 'set', 'lo', 'up');
    this.run(name, 'ip', 'route', 'add', 'default', 'via', `10.0.${network}.254`);
    this.run(name, 'ip', '-6', 'route', 'add', 'default', 'via', `fd00:${network}::254`);
    this.tunnel(name);
  }

  /** Routing needs only a device of that name; the tunnel itself is tested elsewhere. */
  tunnel(name: string): void {
    this.run(name, 'ip', 'tuntap', 'add', 'tunl0', 'mode', 'tun');
    this.run(name, 'ip', 'link', 'set', 'tunl0', 'up');
  }

  run(name: string, ...command: string[]): string {
    return execFileSync('ip', ['netns', 'exec', `${this.#prefix}-${name}`, ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Runs a program there until the test ends; its output goes to `<folder>/<name>.out`. */
  start(name: string, ...command: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', `${this.#prefix}-${name}`, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#processes.push(child);
    return child;
  }

  /** The routes to pods, as `ip route` writes them, without carrier flags. */
  routes(name: string, family: 4 | 6 = 4): string[] {
    return podRoutes(this.run(name, 'ip', `-${family}`, 'route'));
  }

  #namespace(name: string): void {
    const netns = `${this.#prefix}-${name}`;
    createNetns(netns);
    this.#t.after(() => deleteNetns(netns));
  }

  async #end(): Promise<void> {
    for (const child of this.#processes) child.kill('SIGKILL');
    const left = execFileSync('sh', [
      '-c',
      `cat ${this.folder}/*/bird.pid ${this.folder}/*/*/bird.pid ${this.folder}/*.pid 2>/dev/null || true`,
    ]);
    const ids = String(left).split('\n').map(Number).filter(Boolean);
    // A BIRD in a container has written the process ID that it has there.
    const own = ids.filter((pid) => argvOf(pid).some((word) => word.startsWith(this.folder)));
    await killNow(own.flatMap((pid) => identify(pid) ?? []));
  }
}
let count = 0;

function podRoutes(text: string): string[] {
  const lines = text.split('\n').filter((line) => /10\.244\.|fd10:/.test(line));
  return lines.map((line) => line.replace(/ linkdown| pref medium/g, '').trim());
}

/** Records changes of routes to pods with `ip monitor route`; the returned function returns them. */
export async function watch(underlay: Underlay, name: string): Promise<() => string[]> {
  const before = new Set([...underlay.routes(name, 4), ...underlay.routes(name, 6)]);
  const child = underlay.start(name, 'ip', 'monitor', 'route');
  let seen = '';
  child.stdout?.on('data', (chunk) => (seen += chunk));
  // Only the first change it reports shows that it is listening.
  for (let i = 0; seen === '' && i < 200; i++) {
    underlay.run(name, 'ip', 'route', 'replace', 'blackhole', '192.0.2.1', 'metric', `${i + 1}`);
    await sleep(20);
  }
  await sleep(50);
  seen = '';
  // The kernel reports an IPv6 route replaced by an equal one, but not an IPv4 one: neither is a change.
  return () => podRoutes(seen).filter((line) => !before.has(line));
}

/** Nodes n1, n2, … each with a block 10.244.N.0/26 and fd10:N::/122, and BIRD as the agent runs it. */
export class Cluster implements AsyncDisposable {
  readonly underlay: Underlay;
  readonly nodes: Node[] = [];
  readonly birds = new Map<string, Bird>();
  /** Folders of BIRDs that are not in the usual place. */
  readonly folders = new Map<string, string>();
  /** Sockets of the holders of BIRDs that do not run beside their agents. */
  readonly holders = new Map<string, string>();
  resources: Resources = NO_RESOURCES;
  pools: readonly BgpPool[] = [
    { cidr: parseCidr('10.244.0.0/16'), ipipMode: 'Never', disableBgpExport: false },
    { cidr: parseCidr('fd10::/16'), ipipMode: 'Never', disableBgpExport: false },
  ];
  secrets: ReadonlyMap<string, string> = new Map();
  gateways: readonly Gateway[] = [];
  program = 'bird';

  constructor(t: TestContext) {
    // Hooks run in this order, so that no BIRD is restarted after the underlay has ended it.
    t.after(() => this[Symbol.asyncDispose]());
    this.underlay = new Underlay(t);
  }

  /** The next node, on network 1 or 2, with its blocks in the kernel. */
  node(network: 1 | 2 = 1, labels: Record<string, string> = {}): Node {
    const n = this.nodes.length + 1;
    const name = `n${n}`;
    this.underlay.machine(name, network, n);
    this.claim(name, `10.244.${n}.0/26`);
    this.claim(name, `fd10:${n}::/122`);
    const addresses = { 4: parseIp(`10.0.${network}.${n}`), 6: parseIp(`fd00:${network}::${n}`) };
    const node = { name, labels, addresses, subnets: [], backend: { type: 'bgp', data: {} } };
    this.nodes.push(node);
    return node;
  }

  claim(name: string, block: string): void {
    this.underlay.run(name, 'ip', 'route', 'add', 'blackhole', block, 'proto', '110');
  }

  /** Configures every node's BIRD, or only these, from the current facts. */
  async apply(...names: string[]): Promise<void> {
    const chosen = this.nodes.filter(({ name }) => names.length === 0 || names.includes(name));
    await Promise.all(chosen.map(({ name }) => this.bird(name).apply(this.config(name).text)));
  }

  /** Ends a node's agent; its BIRD keeps running, and the next `apply` acts as a new agent. */
  async leave(name: string): Promise<void> {
    await this.bird(name)[Symbol.asyncDispose]();
    this.birds.delete(name);
  }

  config(name: string): ReturnType<typeof birdConfig> {
    return birdConfig(this.#facts(name), this.bird(name).files.log);
  }

  bird(name: string): Bird {
    const known = this.birds.get(name);
    if (known) return known;
    const folder = this.folders.get(name) ?? join(this.underlay.folder, name);
    const bird = new Bird({
      folder,
      log: SILENT,
      program: this.program,
      netns: this.underlay.netns(name),
      holder: this.holders.get(name),
      kernelRoutes: async () =>
        [4, 6].flatMap((family) =>
          this.underlay
            .routes(name, family as 4 | 6)
            .filter((route) => route.includes('proto bird'))
            .map((route) => route.split(' ')[0] ?? ''),
        ),
    });
    this.birds.set(name, bird);
    return bird;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.birds.values()].map((bird) => bird[Symbol.asyncDispose]()));
  }

  #facts(name: string): BgpFacts {
    const node = this.nodes.find((each) => each.name === name);
    if (!node) throw new Error(`there is no node ${name}`);
    const [, network = ''] = /10\.0\.(\d)/.exec(node.addresses[4] ?? '') ?? [];
    const onLink: Cidr[] = [parseCidr(`10.0.${network}.0/24`), parseCidr(`fd00:${network}::/64`)];
    return {
      self: {
        node,
        underlay: { dev: 'eth0', mtu: 1500, addresses: node.addresses, onLink },
        tunnelMacs: tunnelMacsOf(name),
      },
      nodes: this.nodes,
      pools: this.pools,
      resources: this.resources,
      secrets: this.secrets,
      gateways: this.gateways,
    };
  }
}

/** Starts a BIRD with this configuration on a machine that is no node, such as a router. */
export function startRouter(underlay: Underlay, name: string, config: string): void {
  const folder = join(underlay.folder, name);
  mkdirSync(folder);
  const [file, socket] = [join(folder, 'bird.conf'), join(folder, 'bird.ctl')];
  writeFileSync(file, config);
  underlay.start(name, BIRD ?? 'bird', '-f', '-c', file, '-s', socket, '-P', join(folder, 'bird.pid'));
}

/**
 * Waits until `check` holds, and fails with what it last returned. Returns how long it took, in milliseconds.
 */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  timeout = 60_000,
): Promise<number> {
  const start = performance.now();
  while (!(await check())) {
    if (performance.now() - start > timeout) throw new Error(`not within ${timeout} ms: ${what}`);
    await sleep(25);
  }
  return performance.now() - start;
}
