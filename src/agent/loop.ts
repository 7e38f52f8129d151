import { EventEmitter } from 'node:events';
import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { type Desired, type Facts as DesiredFacts, desiredState } from '../desired/desired.ts';
import { Memo } from '../desired/memo.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Contribution } from '../state/contributions.ts';
import type { Miss, Resolve } from '../state/kinds/fdb.ts';
import type { LinkItem } from '../state/kinds/link.ts';
import { Reconciler, type Report } from '../state/reconciler.ts';
import type { Facts } from './facts.ts';
import { failures, ownProblem } from './report.ts';

/** What was computed, and what it was computed from. */
export type Computed = {
  readonly facts: Required<DesiredFacts>;
  readonly desired: Desired;
};

export type LoopEvents = {
  /** The kernel holds this node's own part as it follows from these facts. Once for each computation. */
  settled: [Computed];
  /**
   * The same for the first time, or since then what a runtime is told has changed: the network, the subnets,
   * the MTU.
   */
  ready: [Computed];
  /** The kernel made a device of ours, or changed it. */
  device: [LinkItem];
  /** Somebody else's firewall on this host may have changed. */
  'foreign-table': [];
};

/** What was desired before the network got another backend. */
type Former = { readonly isPeer: boolean; readonly contribution: Contribution };

/** How the loop does, for people. */
export type LoopStatus = {
  /** Runs of the reconciler that changed something or could not. */
  readonly runs: number;
  readonly lastChanges: number;
  readonly failures: readonly string[];
};

/**
 * The step that everything leads to: facts → desired state → reconciler → report. Whatever becomes known or
 * changes, all is computed and handed to the reconciler; what did not change costs nothing there.
 */
export class Loop extends EventEmitter<LoopEvents> implements Disposable {
  readonly reconciler: Reconciler;
  readonly #facts: Facts;
  readonly #log: Log;
  readonly #memo = new Memo();
  readonly #status = { runs: 0, lastChanges: 0, failures: [] as readonly string[] };
  #computed: Computed | undefined;
  #former: readonly Former[] = [];
  #problem: string | undefined = 'the agent is starting';
  #announced = '';
  #pending = false;
  #toSettle: Computed | undefined;
  readonly #judged = new WeakSet<Report>();
  #nodes: readonly Node[] | undefined;
  #resolver: { network: Network; nodes: readonly Node[]; resolve: Resolve | undefined } | undefined;

  /** `netns`: path of the namespace whose kernel state this is; by default the process's own. */
  constructor(facts: Facts, log: Log, netns?: string) {
    super();
    this.#facts = facts;
    this.#log = log;
    this.reconciler = new Reconciler({
      netns,
      log,
      onReport: (report) => this.#judge(report),
      onFailure: (error) => this.#unreadable(error),
      resolve: (miss) => this.#resolve(miss),
      onForeignTable: () => this.emit('foreign-table'),
    });
    facts.on('changed', () => this.#factsChanged());
    facts.on('pods', () => this.#compute());
  }

  [Symbol.dispose](): void {
    this.reconciler[Symbol.dispose]();
  }

  /** Watches the kernel and keeps it right until the signal aborts. Stopping changes nothing. */
  start(signal: AbortSignal): void {
    this.reconciler.start(signal);
  }

  /** What was computed last. */
  get computed(): Computed | undefined {
    return this.#computed;
  }

  /** Bytes a pod may send in one packet, as far as is known. */
  get mtu(): number {
    return this.#computed?.desired.mtu ?? this.#facts.underlay?.mtu ?? 1500;
  }

  /** What keeps the kernel from holding this node's own part; undefined when it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get status(): LoopStatus {
    return this.#status;
  }

  /**
   * Until it is dropped, the kernel also holds what was computed last, as far as nothing newer takes its
   * place.
   */
  keepFormer(): void {
    const { contributions = [] } = this.#computed?.desired ?? {};
    this.#former = contributions.map((each) => ({
      isPeer: each.owner.part === 'peer',
      contribution: asFormer(each),
    }));
  }

  /** Nothing leaves this node by the former state any more; what others still send by it arrives. */
  dropFormerPeers(): void {
    this.#setFormer(this.#former.filter(({ isPeer }) => !isPeer));
  }

  dropFormer(): void {
    this.#setFormer([]);
  }

  #setFormer(former: readonly Former[]): void {
    if (former.length === this.#former.length) return;
    this.#former = former;
    this.#compute();
  }

  #factsChanged(): void {
    this.#compute();
    if (this.#nodes === this.#facts.nodes) return;
    this.#nodes = this.#facts.nodes;
    this.reconciler.answersChanged();
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
    try {
      const facts = this.#desiredFacts();
      if (!facts) return;
      this.#handOver({ facts, desired: desiredState(facts, this.#memo) });
    } catch (error) {
      this.#setProblem(`the desired state cannot be computed: ${messageOf(error)}`);
    }
  }

  /**
   * Undefined while something is missing. Without the peers the MTU would go up for a moment: a way to one
   * may be narrow.
   */
  #desiredFacts(): Computed['facts'] | undefined {
    const { self, network, nodes, subnets, resources, pods } = this.#facts;
    if (!self || !network || !nodes || !subnets) return undefined;
    return { network, self, peers: nodes, pods: pods.list(), resources };
  }

  #handOver(computed: Computed): void {
    const { desired } = computed;
    for (const warning of desired.warnings) {
      if (!this.#computed?.desired.warnings.includes(warning))
        this.#log.warn({ warning }, 'the network is not whole');
    }
    this.#computed = computed;
    this.#toSettle = computed;
    this.reconciler.setDesired([
      ...desired.contributions,
      ...this.#former.map(({ contribution }) => contribution),
    ]);
    if (this.#facts.isComplete) this.reconciler.allowPrune();
    if (this.#announced === this.#announcement(computed)) {
      this.#settle();
      return;
    }
    // A run that has nothing to do is reported only to whoever asked for it.
    this.reconciler.run().then(
      (report) => this.#judge(report),
      (error: unknown) => this.#unreadable(error),
    );
  }

  /** Once for each computation, however many reports come of it: whoever listens renders and looks anew. */
  #settle(): void {
    const computed = this.#toSettle;
    this.#toSettle = undefined;
    if (computed) this.emit('settled', computed);
  }

  /** What `ready` is about. */
  #announcement({ desired, facts }: Computed): string {
    const subnets = facts.network.addresses === 'blocks' ? [] : facts.self.node.subnets;
    return JSON.stringify([subnets, facts.network, desired.mtu]);
  }

  /** Of a run that somebody asked for, the reconciler tells both him and `onReport`. */
  #judge(report: Report): void {
    if (this.#judged.has(report)) return;
    this.#judged.add(report);
    this.#status.runs++;
    this.#status.lastChanges = report.done.length;
    this.#status.failures = failures(report.undone);
    for (const device of madeDevices(report.done)) this.emit('device', device);
    this.#setProblem(ownProblem(report.undone));
    const computed = this.#computed;
    if (this.#problem !== undefined || !computed) return;
    this.#settle();
    const announcement = this.#announcement(computed);
    if (this.#facts.isDoubtful || this.#announced === announcement) return;
    this.#announced = announcement;
    this.emit('ready', computed);
  }

  #unreadable(error: unknown): void {
    this.#setProblem(`the kernel cannot be read: ${messageOf(error)}`);
  }

  #setProblem(problem: string | undefined): void {
    if (problem !== this.#problem && problem) this.#log.error({ problem }, 'not ready');
    this.#problem = problem;
  }

  #resolve(miss: Miss): ReturnType<Resolve> {
    const { network, nodes, resources } = this.#facts;
    if (!network || !nodes) return [];
    if (this.#resolver?.nodes !== nodes || this.#resolver.network !== network) {
      const { backend, options } = configuredBackend(network, resources);
      this.#resolver = { network, nodes, resolve: backend.resolver?.(nodes, options) };
    }
    return this.#resolver.resolve?.(miss) ?? [];
  }
}

/** Each once, though a device is made first and set up later. */
function madeDevices(done: Report['done']): Iterable<LinkItem> {
  const devices = new Map<string, LinkItem>();
  for (const { action, item } of done) {
    if (action === 'delete' || item.kind !== 'link' || item.link.type === 'existing') continue;
    devices.set(item.name, item);
  }
  return devices.values();
}

/** It gives way to whoever wants something else. */
function asFormer({ owner, items }: Contribution): Contribution {
  return { owner: { ...owner, part: 'former' }, items, warnings: [] };
}
