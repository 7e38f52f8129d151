import assert from 'node:assert/strict';
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { refusedSource, sourceRules } from '../../src/cluster/allowed-sources.ts';
import type { Network } from '../../src/cluster/network.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { ANNOTATIONS } from '../../src/cni/protocol/pod.ts';
import { decodeResult, type Result } from '../../src/cni/protocol/result.ts';
import { CniService } from '../../src/cni/service.ts';
import type { Desired, Facts } from '../../src/desired/desired.ts';
import { createNetns, deleteNetns } from '../../src/linux/netns.ts';
import type { Problem } from '../../src/problem.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, Running } from '../state/namespace.ts';

/** A pod's namespace. */
export class RoutedPod implements Disposable {
  readonly name: string;
  readonly netns: string;
  /** IPv4 first. */
  addresses: readonly string[] = [];
  device = '';
  mac = '';

  constructor(name: string) {
    this.name = `fn-routed-${process.pid}-${name}`;
    this.netns = createNetns(this.name);
    this.ip('link set lo up');
  }

  run(program: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, program, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  }

  /** Like `ip`, without blocking the test. */
  start(program: string, ...args: string[]): ChildProcessByStdio<null, Readable, null> {
    return spawn('ip', ['netns', 'exec', this.name, program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  ip(command: string): string {
    return this.run('ip', ...command.split(' '));
  }

  [Symbol.dispose](): void {
    deleteNetns(this.name);
  }
}

/** A node whose kernel the reconciler maintains and whose pods CNI attaches: an agent without its store. */
export class RoutedNode implements AsyncDisposable {
  readonly namespace: Namespace;
  readonly running: Running;
  readonly #dir = mkdtempSync(join(tmpdir(), 'flatnet-routed-'));
  #facts: Facts;
  readonly #pods = new Map<string, LocalPod>();
  readonly #cni: CniService;
  readonly warnings: unknown[] = [];
  /** Of the desired state. Nobody may cause any, unless the facts have changed. */
  problems: readonly Problem[] = [];
  #mayWarn = false;

  /** Needs a started namespace; `join` comes before. */
  constructor(plan: Plan, index: number, namespace: Namespace, network: Partial<Network> = {}) {
    const facts = factsOf(plan, index);
    this.#facts = { ...facts, network: { ...facts.network, wiring: 'routed', ...network } };
    this.namespace = namespace;
    this.running = new Running(namespace);
    const { mtu } = this.#compute();
    this.#cni = new CniService({
      notReady: () => undefined,
      wiring: this.#facts.network.wiring,
      subnets: this.#facts.self.node.subnets,
      refusesSource: (cidr) => refusedSource(cidr, sourceRules({ ...this.#facts, nodes: this.#facts.peers })),
      networks: Object.values(this.#facts.network.pools).map(({ cidr }) => cidr),
      mtu,
      bridge: 'cni0',
      masquerade: true,
      dataDir: join(this.#dir, 'networks'),
      stateDir: join(this.#dir, 'state'),
      netns: namespace.path,
      attached: (pod) => this.#follow(() => this.#pods.set(pod.containerId, pod)),
      detached: (pod) => this.#follow(() => this.#pods.delete(pod.containerId)),
      warn: (text, error) => this.warnings.push({ text, error }),
    });
  }

  async add(
    pod: RoutedPod,
    annotations: Readonly<Record<string, string>> = {},
    capabilities: object = {},
  ): Promise<Result> {
    const result = await this.#call('ADD', pod, annotations, capabilities);
    pod.addresses = result.ips.map(({ address }) => address.replace(/\/.*/, ''));
    const [first, second] = result.interfaces;
    pod.device = (first?.name === 'cni0' ? second : first)?.name ?? '';
    pod.mac = result.interfaces.find(({ sandbox }) => sandbox)?.mac ?? '';
    return result;
  }

  /** Facts change; pods stay. */
  async change(facts: (facts: Facts) => Partial<Facts>): Promise<void> {
    this.#mayWarn = true;
    this.#facts = { ...this.#facts, ...facts(this.#facts) };
    this.#compute();
    await this.running.settled(10_000);
  }

  async remove(pod: RoutedPod): Promise<void> {
    await this.#call('DEL', pod);
  }

  lines(command: string): string[] {
    return this.namespace
      .ip(command)
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.running[Symbol.dispose]();
    await this.#cni[Symbol.asyncDispose]();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #call(
    command: string,
    pod: RoutedPod,
    annotations: Readonly<Record<string, string>> = {},
    capabilities: object = {},
  ): Promise<Result> {
    const { stdout, exit } = await this.#cni.handle({
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: pod.name,
        CNI_IFNAME: 'eth0',
        CNI_NETNS: pod.netns,
        CNI_PATH: '/usr/lib/cni',
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.name}`,
      },
      stdin: JSON.stringify({
        cniVersion: '1.1.0',
        name: 'cbr0',
        type: 'flatnet',
        runtimeConfig: { [ANNOTATIONS]: annotations, ...capabilities },
      }),
    });
    assert.equal(exit, 0, stdout);
    return decodeResult(JSON.parse(stdout || '{}'));
  }

  #follow(change: () => void): void {
    change();
    this.#compute();
  }

  #compute(): Desired {
    const desired = composedState({ ...this.#facts, pods: [...this.#pods.values()] });
    this.problems = desired.warnings;
    if (!this.#mayWarn) assert.deepEqual(desired.warnings, []);
    this.running.want(desired.items);
    return desired;
  }
}

/** Two nodes on one link, with their desired state in the kernel. */
export async function twoNodes(plan: Plan, network: Partial<Network> = {}): Promise<Pair> {
  // Reconcilers that a failure leaves behind would keep the process alive.
  await using made = new AsyncDisposableStack();
  const namespace = (index: number) => made.use(new Namespace(plan, [], index));
  const namespaces = [namespace(0), namespace(1)] as const;
  namespaces[0].join(namespaces[1]);
  const node = (index: 0 | 1) => made.use(new RoutedNode(plan, index, namespaces[index], network));
  const nodes = [node(0), node(1)] as const;
  for (const { running } of nodes) await running.settled(10_000);
  // Their underlay has just come up: its link-local addresses are still tentative.
  const { addresses } = factsOf(plan, 1).self.underlay;
  namespaces[0].run('ping', '-nc1', '-w5', '-i0.2', `${addresses[6] ?? addresses[4]}`);
  const all = made.move();
  return { nodes, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

export type Pair = AsyncDisposable & { readonly nodes: readonly [RoutedNode, RoutedNode] };
