import { EventEmitter } from 'node:events';
import { within } from '../async/within.ts';
import type { Network } from '../cluster/network.ts';
import type { LocalPod, Node } from '../cluster/node.ts';
import {
  type Desired,
  type Facts as DesiredFacts,
  desiredState,
  isOurs,
  podContribution,
} from '../desired/desired.ts';
import { Memo } from '../desired/memo.ts';
import { isOfPods } from '../desired/of-pods.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { problemText } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';
import type { KernelEvent } from '../state/options.ts';
import { Reconciler } from '../state/reconciler.ts';
import type { Report } from '../state/reporter.ts';
import { isConstrained, refusal, urgentItems } from './admission.ts';
import { Announced } from './announced.ts';
import { Answers } from './answers.ts';
import type { Facts } from './facts.ts';
import { Former } from './former.ts';
import { formerNeeds } from './former-needs.ts';
import { Health, type LoopStatus } from './health.ts';
import { Recomputation } from './recomputation.ts';
import { touchedDevices, vanishedDevices } from './report.ts';

/** Longest wait for what constrains a pod, in milliseconds. */
const ADMISSION_LIMIT = 5000;

type OfPolicies = 'policies' | 'logGroup' | 'names' | 'hasFlowtables';

/** The desired state and the facts it was computed from. */
export type Computed = {
  readonly facts: Required<Omit<DesiredFacts, OfPolicies>> & Pick<DesiredFacts, OfPolicies>;
  readonly desired: Desired;
};

export type LoopEvents = {
  /** The kernel holds this node's own part of the desired state. Fires once per computation. */
  settled: [Computed];
  /**
   * Like `settled`, but only the first time and when what the container runtime is given changes: the
   * network, the subnets or the MTU.
   */
  ready: [Computed];
  /** A run made these changes; `full`: the kernel was read before, so they may be repairs. */
  done: [changes: Report['done'], full: boolean];
  /** One of our devices was created or changed. */
  device: [LinkItem];
  /** Host devices of pods are gone, again after every run. */
  vanished: [ReadonlySet<string>];
  /** The kernel reported a change. */
  event: [KernelEvent];
  /** A foreign firewall on this host may have changed. */
  'foreign-table': [];
};

/**
 * The control loop: facts → desired state → reconciler → report. Every change recomputes the whole desired
 * state and passes it to the reconciler, where unchanged items cost nothing.
 */
export class Loop extends EventEmitter<LoopEvents> implements Disposable {
  readonly reconciler: Reconciler;
  readonly #facts: Facts;
  readonly #log: Log;
  readonly #memo = new Memo();
  readonly #health: Health;
  readonly #former = new Former();
  readonly #answers: Answers;
  #computed: Computed | undefined;
  /** Why no desired state follows from the present facts. */
  #obstacle: string | undefined;
  readonly #announced = new Announced();
  readonly #recomputation = new Recomputation(() => this.#compute());
  #toSettle: Computed | undefined;
  /** The computation whose own run hasn't ended; reports of earlier runs don't cover it. */
  #underway: Computed | undefined;
  #nodes: readonly Node[] | undefined;

  /** `netns`: path of the namespace to manage; by default the process's own. */
  constructor(facts: Facts, log: Log, netns?: string) {
    super();
    this.#facts = facts;
    this.#log = log;
    this.#health = new Health(log);
    this.#answers = new Answers(facts);
    this.reconciler = new Reconciler({
      netns,
      log,
      onReport: (report) => this.#handle(report),
      onFailure: (error) => this.#health.unreadable(error),
      onRun: () => this.#recomputation.catchUp(),
      resolve: (miss) => this.#answers.to(miss),
      onEvent: (event) => this.emit('event', event),
      onForeignTable: () => this.emit('foreign-table'),
    });
    facts.on('changed', () => this.#factsChanged());
    facts.on('pods', (what) => this.#recomputation.requestForPods(what));
  }

  [Symbol.dispose](): void {
    this.#recomputation.stop();
    this.reconciler[Symbol.dispose]();
  }

  /** Watches the kernel and repairs drift until the signal aborts. Stopping leaves the kernel unchanged. */
  start(signal: AbortSignal): void {
    this.reconciler.start(signal);
  }

  /** The latest computation. */
  get computed(): Computed | undefined {
    return this.#computed;
  }

  /** The pods' MTU in bytes, from the best information so far. */
  get mtu(): number {
    return this.#computed?.desired.mtu ?? this.#facts.underlay?.mtu ?? 1500;
  }

  /** Why the kernel doesn't hold this node's own part; undefined when it does. */
  get problem(): string | undefined {
    return this.#obstacle ?? this.#health.problem;
  }

  /**
   * Applies a pod's contribution ahead of everything else that is due; the pod is one of the facts. Resolves
   * to undefined once the kernel holds what constrains it, otherwise to the reason, for people.
   */
  async admit(pod: LocalPod): Promise<string | undefined> {
    return (await this.#constrain(pod)) ?? (await this.#police(pod));
  }

  async #constrain(pod: LocalPod): Promise<string | undefined> {
    try {
      const facts = this.#desiredFacts();
      if (!facts) return isOurs(pod) ? 'the agent does not know the network yet' : undefined;
      const contribution = podContribution(facts, pod, this.#memo);
      if (!isConstrained(contribution)) return undefined;
      const late = new AbortController();
      const admitted = this.reconciler.admit(contribution, urgentItems(contribution), late.signal);
      const report = await within(ADMISSION_LIMIT, admitted, undefined);
      if (report) return refusal(contribution, report);
      // Its ADD is rolled back now: after that, nothing would take the pod's items away again.
      late.abort();
      return `still not after ${ADMISSION_LIMIT} ms`;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Waits until the kernel holds the pod's policies, if they are enforced. */
  async #police(pod: LocalPod): Promise<string | undefined> {
    const { network, policy } = this.#facts;
    if (!network?.policy) return undefined;
    if (!policy.areServed) return 'this store has no network policies, which the network wants enforced';
    if (!(await this.#facts.untilPoliciesKnow(pod, ADMISSION_LIMIT)))
      return this.#facts.enforcedPolicies
        ? 'the store does not know its labels yet, and so nobody which policies are about it'
        : 'the network policies are unknown';
    if (!this.#policiesOf(pod)) await this.#recomputation.next();
    if (this.#obstacle !== undefined) return this.#obstacle;
    const own = this.#policiesOf(pod);
    if (!own) return undefined;
    // What has come since may take long to compute, and is not about this pod's start.
    const report = await within(ADMISSION_LIMIT, this.reconciler.run(), undefined);
    if (!report) return `its policies are not in force after ${ADMISSION_LIMIT} ms`;
    return refusal(own, report) ?? this.problem;
  }

  #policiesOf({ containerId, ifName }: LocalPod): Contribution | undefined {
    return this.#computed?.desired.contributions.find(
      ({ owner }) => owner.part === 'policy' && owner.id === `${containerId} ${ifName}`,
    );
  }

  /** Resolves to what a run has done that knows the facts as they are now. Rejects like the reconciler. */
  async run(): Promise<Report> {
    await this.#recomputation.settled();
    return this.reconciler.run();
  }

  get status(): LoopStatus {
    return this.#health.status;
  }

  /**
   * Keeps in the kernel, until it is dropped, what a former network's backend needs, except where newer items
   * replace it. `nodes`: all nodes as the store has them now. Throws like `formerNeeds`.
   */
  keepFormer(network: Network, nodes: readonly Node[]): void {
    this.#former.keep(network.backend.type, formerNeeds(this.#computed, network, nodes));
  }

  /**
   * Keeps whatever the kernel holds of a former backend, when nobody knows any more what that is, until
   * `dropFormer`.
   */
  keepRemains(): void {
    this.#former.keepRemains();
  }

  /**
   * Stops sending through former backends, except to the peers in `late`, each by the backend it still uses;
   * what others still send through them is received.
   */
  dropFormerPeers(late: ReadonlyMap<string, string>): void {
    if (this.#former.dropPeers(late)) this.#recomputation.request();
  }

  dropFormer(): void {
    if (this.#former.drop()) this.#recomputation.request();
  }

  #factsChanged(): void {
    this.#recomputation.request();
    if (this.#nodes === this.#facts.nodes) return;
    this.#nodes = this.#facts.nodes;
    this.reconciler.answersChanged();
  }

  #compute(): void {
    try {
      const facts = this.#desiredFacts();
      if (!facts) return;
      const desired = desiredState(facts, this.#memo);
      this.#obstacle = undefined;
      this.#apply({ facts, desired });
    } catch (error) {
      const obstacle = `the desired state cannot be computed: ${messageOf(error)}`;
      if (obstacle !== this.#obstacle) this.#log.error({ problem: obstacle }, 'not ready');
      this.#obstacle = obstacle;
    }
  }

  /** Undefined while facts are missing: without the peers, the MTU might rise for a moment. */
  #desiredFacts(): Computed['facts'] | undefined {
    const { self, network, nodes, subnets, resources, pods } = this.#facts;
    const { enforcedPolicies, policy } = this.#facts;
    const { logGroup, names, hasFlowtables } = policy;
    if (!self || !network || !nodes || !subnets) return undefined;
    const ofPolicies = { policies: enforcedPolicies, logGroup, names, hasFlowtables };
    return { network, self, peers: nodes, pods: pods.list(), resources, ...ofPolicies };
  }

  #apply(computed: Computed): void {
    const { desired } = computed;
    const known = this.#computed?.desired.warnings.map(problemText) ?? [];
    for (const warning of desired.warnings.map(problemText)) {
      if (!known.includes(warning)) this.#log.warn({ warning }, 'the network is incomplete');
    }
    this.#computed = computed;
    this.#toSettle = computed;
    this.reconciler.setDesired([...desired.contributions, ...this.#former.contributions]);
    if (this.#facts.isComplete) this.reconciler.allowPrune(this.#former.prune);
    else if (this.#facts.pods.areComplete) this.reconciler.allowPrune(isOfPods);
    if (this.#announced.covers(computed)) {
      this.#settle();
      return;
    }
    this.#underway = computed;
    const ended = (): void => {
      if (this.#underway === computed) this.#underway = undefined;
    };
    // `onReport` skips runs without changes, so the report is awaited here.
    this.reconciler.run().then(
      (report) => {
        ended();
        this.#handle(report);
      },
      (error: unknown) => {
        ended();
        this.#health.unreadable(error);
      },
    );
  }

  /** Fires once per computation, not per report: listeners render files and rescan. */
  #settle(): void {
    const computed = this.#toSettle;
    this.#toSettle = undefined;
    if (computed) this.emit('settled', computed);
  }

  #handle(report: Report): void {
    if (this.#health.record(report)) this.#tell(report);
    const computed = this.#computed;
    if (this.#health.problem !== undefined || !computed || this.#underway) return;
    this.#settle();
    if (this.#facts.own.areDoubtful || this.#announced.covers(computed)) return;
    this.#announced.note(computed);
    this.emit('ready', computed);
  }

  #tell({ done, undone, full }: Report): void {
    if (done.length > 0) this.emit('done', done, full);
    for (const device of touchedDevices(done)) this.emit('device', device);
    const vanished = vanishedDevices(undone);
    if (vanished.size > 0) this.emit('vanished', vanished);
  }
}
