import { isDeepStrictEqual } from 'node:util';
import { background } from '../../async/background.ts';
import { Backoff } from '../../async/backoff.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import { type Family, familyOf } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { excerpt, type Problem } from '../../problem.ts';
import type { ClusterFacts, Companion, CompanionContext, CompanionKind, SettledFacts } from '../companion.ts';
import type { Cloud, OpenCloud, Origin } from './cloud.ts';
import { endRoutes } from './end.ts';
import { type Kept, keepRoutes, type Situation } from './keep.ts';
import { Knowledge } from './knowledge.ts';

/** Milliseconds between looks at the cloud's routes: a cluster's nodes share its limits. */
const INTERVAL = 10 * 60_000;
/** The same after a node has left, for each node of the cluster, and at most. */
const PER_NODE = 2000;
const LONGEST = 5 * 60_000;
/**
 * Milliseconds until what was changed is looked at again, as another node may have changed it, too; and what
 * is in the way, as somebody may have removed it.
 */
const AFTERWARDS = 60_000;
/** Milliseconds between attempts. */
const FIRST_RETRY = 2000;
const LONGEST_RETRY = 5 * 60_000;

/**
 * The companion of a backend whose packets the cloud's own routers carry: keeps, in the cloud's tables, a
 * route to this instance for each of its node's subnets, and removes those of nodes that are gone. No packet
 * waits for it: while the cloud's API is away, its routes stay as they are.
 */
export function cloudCompanion(kind: CloudKind): CompanionKind {
  return {
    start: (context) => new CloudCompanion(kind, context),
    end: (context) => endRoutes(kind.open, context),
  };
}

export type CloudKind = {
  /** The backend's type. */
  readonly name: string;
  /** Those whose packets it carries. */
  readonly families: readonly Family[];
  readonly open: OpenCloud;
};

/** Nothing that a kernel is to hold: its change says that peers may hear of this node now. */
type CloudFacts = { readonly confirmed: readonly Cidr[] };

class CloudCompanion implements Companion<CloudFacts> {
  readonly #kind: CloudKind;
  readonly #context: CompanionContext;
  readonly #stopping = new AbortController();
  readonly #knowledge: Knowledge;
  readonly #work: Latest<Situation>;
  #situation: Situation | undefined;
  #opened: { readonly cloud: Cloud; readonly origin: Origin } | undefined;
  #problems: readonly Problem[] = [];
  #facts: CloudFacts;
  /** Why the last look failed. */
  #failure: string | undefined;
  #isLooking = false;
  /** Whether the store confirms that the subnets are this node's: another may have them by now. */
  #isMember = false;

  constructor(kind: CloudKind, context: CompanionContext) {
    const signal = AbortSignal.any([context.signal, this.#stopping.signal]);
    const { log } = context;
    this.#kind = kind;
    this.#context = { ...context, signal };
    this.#knowledge = new Knowledge(context.folders.state, log);
    this.#facts = { confirmed: this.#knowledge.confirmed };
    const work = (situation: Situation, superseded: AbortSignal) => this.#look(situation, superseded);
    this.#work = new Latest(`keep the routes of ${kind.name}`, work, { log, signal });
  }

  /** The routes stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#work.idle();
    this.#opened?.cloud[Symbol.dispose]();
  }

  get facts(): CloudFacts {
    return this.#facts;
  }

  /**
   * In a network whose backend changes, peers reach this node by the former one until its route is there. A
   * new node must join first, as its subnet comes from that.
   */
  get withholds(): string | undefined {
    return this.#isMember ? this.problem : undefined;
  }

  /** Before its route was there, nobody reaches its pods; later, only the cloud may know. */
  get problem(): string | undefined {
    const own = this.#situation && this.#ownOf(this.#situation);
    if (own?.every((subnet) => this.#knowledge.confirmed.includes(subnet))) return undefined;
    const [conflict] = this.#conflicts;
    const reason = this.#failure ?? conflict?.what ?? 'the cloud has not answered yet';
    return `the cloud has no route to this node’s pods yet: ${reason}`;
  }

  get warnings(): readonly Problem[] {
    if (this.#failure === undefined || this.problem !== undefined) return this.#problems;
    const what = `the cloud’s routes (${this.#kind.name}) cannot be checked; those that are there stay`;
    return [
      ...this.#problems,
      { id: 'cloud-unavailable', severity: 'warning', what, cause: excerpt(this.#failure, 400) },
    ];
  }

  get #conflicts(): readonly Problem[] {
    return this.#problems.filter(({ id }) => id === 'cloud-route-conflict');
  }

  learn({ isMember }: ClusterFacts): void {
    const wasMember = this.#isMember;
    this.#isMember = isMember;
    if (isMember && !wasMember) this.#pushLatest();
  }

  update({ network, nodes, self, isComplete }: SettledFacts): void {
    const last = this.#situation;
    this.#situation = { network, nodes, self, isComplete: isComplete === true };
    const isSame =
      isDeepStrictEqual(last?.self.node.subnets, self.node.subnets) &&
      isDeepStrictEqual(last && originOf(last), originOf(this.#situation));
    if (!isSame) this.#pushLatest();
    if (isComplete && (last?.nodes !== nodes || !last.isComplete)) {
      const others = nodes.filter(({ name }) => name !== self.node.name);
      // Any node removes the routes of those that have left, at a time of its own: whoever comes first.
      if (this.#knowledge.note(others))
        this.#lookAfter(Math.min(nodes.length * PER_NODE, LONGEST) * Math.random());
    }
    if (this.#isLooking) return;
    this.#isLooking = true;
    const { log, signal } = this.#context;
    background('look at the cloud’s routes', this.#lookAgain(), log, signal);
  }

  async #lookAgain(): Promise<void> {
    // All nodes of a cluster may start at once.
    const spread = (interval: number): number => interval * (0.5 + Math.random());
    let due = performance.now() + spread(INTERVAL);
    while (await pause(spread(AFTERWARDS), this.#context.signal)) {
      if (this.#work.busy || (this.#conflicts.length === 0 && performance.now() < due)) continue;
      due = performance.now() + spread(INTERVAL);
      this.#pushLatest();
    }
  }

  #lookAfter(ms: number): void {
    const { log, signal } = this.#context;
    const look = async (): Promise<void> => {
      // What fails is tried again in any case, at intervals that grow.
      if ((await pause(ms, signal)) && this.#failure === undefined) this.#pushLatest();
    };
    background('look at the cloud’s routes once more', look(), log, signal);
  }

  #pushLatest(): void {
    if (this.#situation && this.#isMember) this.#work.push(this.#situation);
  }

  async #look(situation: Situation, superseded: AbortSignal): Promise<void> {
    let hasChanged = false;
    const changing = (): void => {
      hasChanged = true;
    };
    const attempt = () => this.#tryToKeep(situation, changing, superseded);
    try {
      await untilDone(`keep the routes of ${this.#kind.name}`, attempt, {
        signal: superseded,
        log: this.#context.log,
        backoff: new Backoff({ first: FIRST_RETRY, longest: LONGEST_RETRY }),
        failed: (reason) => {
          this.#failure = reason;
        },
      });
    } finally {
      if (hasChanged) this.#lookAfter(AFTERWARDS);
    }
  }

  async #tryToKeep(situation: Situation, changing: () => void, superseded: AbortSignal): Promise<void> {
    if (!this.#isMember) return;
    const origin = originOf(situation);
    const cloud = await this.#cloudFor(origin);
    const kept = await keepRoutes(cloud, {
      situation,
      origin,
      own: this.#ownOf(situation),
      knowledge: this.#knowledge,
      newest: () => this.#situation ?? situation,
      changing,
      mayGoOn: () => {
        superseded.throwIfAborted();
        return this.#isMember;
      },
      log: this.#context.log,
    });
    if (kept) this.#settle(kept);
  }

  #settle({ confirmed, problems }: Kept): void {
    this.#failure = undefined;
    this.#problems = problems;
    if (isDeepStrictEqual(this.#facts.confirmed, confirmed)) return;
    this.#facts = { confirmed };
    this.#context.changed();
  }

  #ownOf({ self }: Situation): readonly Cidr[] {
    return self.node.subnets.filter((subnet) => this.#kind.families.includes(familyOf(subnet)));
  }

  async #cloudFor(origin: Origin): Promise<Cloud> {
    if (this.#opened && isDeepStrictEqual(this.#opened.origin, origin)) return this.#opened.cloud;
    this.#opened?.cloud[Symbol.dispose]();
    this.#opened = undefined;
    const cloud = await this.#kind.open(origin, this.#context.signal);
    this.#opened = { cloud, origin };
    return cloud;
  }
}

function originOf({ network, self }: Situation): Origin {
  return { options: network.backend.options, addresses: self.underlay.addresses };
}
