import { asksForIpip } from '../backends/ipip.ts';
import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node, Self, Underlay } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { TunnelHandover } from '../companions/bird/tunnel-handover.ts';
import { createMemo, type Desired, desiredState } from '../desired/desired.ts';
import { messageOf } from '../error.ts';
import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import type { Item } from '../state/item.ts';
import { keyOf } from '../state/item.ts';
import type { Miss, Resolve } from '../state/kinds/fdb.ts';
import { Reconciler, type Report } from '../state/reconciler.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import type { AgentOptions } from './options.ts';
import { Pods } from './pods.ts';
import { publishedNode } from './published.ts';
import { Readiness } from './readiness.ts';
import { troubles } from './trouble.ts';

/** What the agent knows; each part is undefined until it is known. */
type Knowledge = {
  underlay: Underlay | undefined;
  network: Network | undefined;
  resources: Resources;
  nodes: readonly Node[] | undefined;
  subnets: readonly Cidr[] | undefined;
  tunnelAddress: Ip | undefined;
};

export type AgentEvents = {
  /** What this node publishes may have changed. */
  readonly onFacts: () => void;
  /** The kernel holds this node's own part, as it follows from the facts of now: BGP may go by them. */
  readonly onSettled: (facts: {
    readonly self: Self;
    readonly nodes: readonly Node[];
    readonly network: Network;
  }) => void;
  /** Somebody else's firewall on this host may be another one now. */
  readonly onForeignTable: () => void;
  /** A tunnel device was made that was not there. */
  readonly onDevice: () => void;
  /** The kernel holds all of this node's own part for the first time, or its MTU or subnets changed since. */
  readonly onReady: (desired: Desired) => void;
};

/**
 * One node's facts, and the desired state that follows from them. Whatever becomes known or changes leads to the same step: compute
 * everything, hand it to the reconciler.
 */
export class Agent implements Disposable {
  readonly options: AgentOptions;
  readonly pods: Pods;
  readonly reconciler: Reconciler;
  readonly #log: Log;
  readonly #events: AgentEvents;
  readonly #memo = createMemo();
  readonly #known: Knowledge = {
    underlay: undefined,
    network: undefined,
    resources: NO_RESOURCES,
    nodes: undefined,
    subnets: undefined,
    tunnelAddress: undefined,
  };
  readonly #runs = { runs: 0, lastChanges: 0, failures: [] as string[] };
  readonly #readiness: Readiness;
  readonly #handover = new TunnelHandover(() => this.#changed());
  #desired: Desired | undefined;
  #announced = '';
  #complete = false;
  #answers: { network: Network; nodes: readonly Node[]; resolve: Resolve | undefined } | undefined;
  #pending = false;
  /** Computed, and not yet told to `onSettled`. */
  #unsettled: Parameters<AgentEvents['onSettled']>[0] | undefined;

  constructor(options: AgentOptions, pods: Iterable<LocalPod>, log: Log, events: AgentEvents) {
    this.options = options;
    this.#log = log;
    this.#events = events;
    this.#readiness = new Readiness(log);
    this.pods = new Pods(pods, () => this.#compute());
    this.reconciler = new Reconciler({
      log,
      onReport: (report) => this.#judge(report),
      onFailure: (error) => this.#readiness.kernel(`the kernel cannot be read: ${messageOf(error)}`),
      resolve: (miss) => this.#resolve(miss),
      onForeignTable: events.onForeignTable,
    });
  }

  [Symbol.dispose](): void {
    this.#handover[Symbol.dispose]();
    this.reconciler[Symbol.dispose]();
  }

  underlayIs(underlay: Underlay): void {
    this.#known.underlay = underlay;
    this.#changed();
  }

  networkIs(network: Network): void {
    this.#known.network = network;
    this.#changed();
  }

  /** Where addresses are blocks, joining brings none: they are claimed as pods come, and the view tells which. */
  subnetsAre(subnets: readonly Cidr[]): void {
    this.#readiness.confirmed();
    this.#known.subnets = this.#usesBlocks
      ? (this.#blocksOfName() ?? this.#known.subnets ?? subnets)
      : subnets;
    this.#changed();
  }

  tunnelAddressIs(ip: Ip | undefined): void {
    this.#known.tunnelAddress = ip;
    this.#changed();
  }

  /** An agent before this one left the tunnel device, with this address. */
  tunnelWas(ip: Ip | undefined): void {
    this.#handover.found();
    this.#known.tunnelAddress = ip;
  }

  /** Whether the tunnel keeps its address, whatever the pools say. */
  get tunnelStays(): boolean {
    return this.#handover.stays;
  }

  bgpIs(problem: string | undefined): void {
    this.#readiness.bgp(problem);
  }

  /**
   * The subnets this node had before: right for the pods that run, but somebody else may have them now. No pod gets an address of
   * theirs until the store says so, or `trustMemory`.
   */
  subnetsWere(subnets: readonly Cidr[]): void {
    this.subnetsAre(subnets);
    this.#readiness.remembered();
  }

  /** The store is away: what is remembered is all there is to go by. */
  trustMemory(): void {
    if (this.#readiness.trustMemory()) this.#compute();
  }

  subnetsLost(): void {
    this.#readiness.lost();
  }

  /** `complete`: the view comes from the store itself, so what it does not name is gone. */
  clusterIs(view: ClusterView, complete: boolean): void {
    this.#known.nodes = view.nodes;
    this.#known.network = view.network;
    this.#known.resources = view.resources;
    const inUse = view.nodes.some(({ subnets }) => subnets.length > 0);
    this.#handover.wantedIs(asksForIpip(view.resources.ipPools), inUse);
    if (this.#usesBlocks && this.#known.subnets && !this.#readiness.doubtful) {
      this.#known.subnets = this.#blocksOfName() ?? this.#known.subnets;
    }
    this.#complete ||= complete;
    this.#changed();
    this.reconciler.answersChanged();
  }

  /** Why an ADD can't be served now; undefined when it can. */
  get notReady(): string | undefined {
    return this.#readiness.reason(this.#known);
  }

  /** What keeps the agent from knowing more, for `notReady`. */
  trouble(reason: string): void {
    this.#readiness.trouble(reason);
  }

  get network(): Network | undefined {
    return this.#known.network;
  }

  get subnets(): readonly Cidr[] {
    return this.#known.subnets ?? [];
  }

  get resources(): Resources {
    return this.#known.resources;
  }

  /** Those of the Node resource count too, and before those the agent was started with. */
  get labels(): Readonly<Record<string, string>> {
    return { ...this.options.labels, ...this.resources.nodes[this.options.node]?.labels };
  }

  /** The blocks of this node's name. Ours once we have joined: until then another machine may have the name. */
  #blocksOfName(): readonly Cidr[] | undefined {
    return this.#known.nodes?.find(({ name }) => name === this.options.node)?.subnets;
  }

  get #usesBlocks(): boolean {
    return this.#known.network?.addresses === 'blocks';
  }

  get mtu(): number {
    return this.#desired?.mtu ?? this.#known.underlay?.mtu ?? 1500;
  }

  /** What peers are to know of this node; undefined while it is not known. */
  published(): Node | undefined {
    const { underlay, network, subnets, resources } = this.#known;
    return underlay && network && publishedNode(this.options, network, underlay, subnets ?? [], resources);
  }

  /** The facts a person asks for: `flatnet status`. `warnings`: of others, besides its own. */
  status(warnings: readonly string[] = []): Record<string, unknown> {
    const { underlay, network, nodes, subnets } = this.#known;
    return {
      node: this.options.node,
      ready: this.notReady === undefined,
      ...(this.notReady === undefined ? {} : { notReady: this.notReady }),
      pid: process.pid,
      subnets: subnets ?? [],
      backend: network?.backend.type,
      underlay,
      mtu: this.mtu,
      peers: (nodes ?? []).filter(({ name }) => name !== this.options.node).length,
      pods: this.pods.list(),
      reconcile: this.#runs,
      warnings: [...(this.#desired?.warnings ?? []), ...warnings],
    };
  }

  get desired(): Desired | undefined {
    return this.#desired;
  }

  #changed(): void {
    this.#compute();
    this.#events.onFacts();
  }

  /** Changes that come together are computed once. */
  #compute(): void {
    if (this.#pending) return;
    this.#pending = true;
    queueMicrotask(() => {
      this.#pending = false;
      this.#computeNow();
    });
  }

  #computeNow(): void {
    const { underlay, network, nodes, subnets, resources, tunnelAddress } = this.#known;
    const node = this.published();
    // Without the peers the MTU would go up for a moment: a way to one of them may be narrow.
    if (!underlay || !network || !subnets || !nodes || !node) return;
    const self: Self = {
      node,
      underlay,
      ...(tunnelAddress && { tunnelAddress }),
      ...(this.#handover.onlyReceives && { tunnelOnlyReceives: true }),
    };
    let desired: Desired;
    try {
      const facts = { network, self, peers: nodes, pods: this.pods.list(), resources };
      desired = desiredState(facts, this.#memo);
    } catch (error) {
      this.#readiness.kernel(`the desired state cannot be computed: ${messageOf(error)}`);
      return;
    }
    for (const warning of desired.warnings) {
      if (!this.#desired?.warnings.includes(warning)) this.#log.warn({ warning }, 'the network is not whole');
    }
    this.#desired = desired;
    this.reconciler.setDesired(desired.items);
    this.#unsettled = { self, nodes, network };
    if (this.#complete) this.reconciler.allowPrune();
    if (this.#announced === this.#announcement()) {
      this.#tellSettled();
      return;
    }
    void this.reconciler.run().then(
      (report) => this.#judge(report),
      (error: unknown) => this.#readiness.kernel(`the kernel cannot be read: ${messageOf(error)}`),
    );
  }

  /** Once for each computation, however many reports come of it: whoever listens renders and looks anew. */
  #tellSettled(): void {
    const facts = this.#unsettled;
    this.#unsettled = undefined;
    if (facts) this.#events.onSettled(facts);
  }

  /** What `onReady` is told of: called again when any of it changes. */
  #announcement(): string {
    const subnets = this.#usesBlocks ? [] : this.#known.subnets;
    return JSON.stringify([subnets, this.#known.network, this.mtu]);
  }

  #judge(report: Report): void {
    this.#runs.runs++;
    this.#runs.lastChanges = report.done.length;
    this.#runs.failures = troubles(report);
    const tunnels = report.done.filter(({ action, item }) => action !== 'delete' && isTunnel(item));
    if (tunnels.length > 0) {
      this.#handover.made();
      this.#events.onDevice();
    }
    // Without its own devices the node can't take pods; a single peer that is out of reach is no reason to refuse them.
    const own = [...report.failed, ...report.waiting].find(
      ({ change: { item } }) =>
        item.kind === 'address' || (item.kind === 'link' && item.link.type !== 'existing'),
    );
    const reason = own && ('error' in own ? messageOf(own.error) : own.reason);
    this.#readiness.kernel(own ? `the kernel refuses ${keyOf(own.change.item)}: ${reason}` : '');
    if (own) return;
    this.#tellSettled();
    if (this.#readiness.doubtful || !this.#desired || this.#announced === this.#announcement()) return;
    this.#announced = this.#announcement();
    this.#events.onReady(this.#desired);
  }

  #resolve(miss: Miss): ReturnType<Resolve> {
    const { network, nodes, resources } = this.#known;
    if (!network || !nodes) return [];
    if (this.#answers?.nodes !== nodes || this.#answers.network !== network) {
      const { backend, options } = configuredBackend(network, resources);
      this.#answers = { network, nodes, resolve: backend.resolver?.(nodes, options) };
    }
    return this.#answers.resolve?.(miss) ?? [];
  }
}

/** A device that BIRD's routes lead into. */
function isTunnel(item: Item): boolean {
  return item.kind === 'link' && item.link.type === 'ipip';
}
