import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem, timeText } from '../../problem.ts';
import type { KeyRange, KeyValue, Kv } from '../kv/kv.ts';
import type { ClusterFeed, ClusterView, LastView } from '../ports/feed.ts';
import type { CheckNetwork } from '../ports/network.ts';
import { ClusterState } from './cluster-state.ts';
import { keyProblems } from './ignored.ts';
import type { Layout } from './layout.ts';

/** From which revision to watch, and of which store. */
type From = { readonly revision: number; readonly store: string };

/** Called when `state` has changed or a watch has been re-established. */
export type Follower = () => void;

/** Milliseconds to wait for agents to refill a store that has lost everything. */
const SETTLE = 5_000;
/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 10;

/**
 * Keeps a ClusterState in sync with the store while it has followers: lists each key range, then watches it
 * from that revision. A broken watch resumes at the next revision; if that has been compacted, the range is
 * listed again.
 */
export class EtcdFeed implements ClusterFeed {
  readonly state: ClusterState;
  readonly #kv: Kv;
  readonly #layout: Layout;
  readonly #log: Log;
  readonly #ranges: readonly KeyRange[];
  readonly #followers = new Set<Follower>();
  readonly #closed = new AbortController();
  #running: AbortController | undefined;
  /**
   * The key ranges, each watched separately, that are known; whose last known state stays in force although
   * the store answers; that came back empty; that are unreachable.
   */
  readonly #listed = new Set<KeyRange>();
  readonly #doubted = new Set<KeyRange>();
  readonly #wiped = new Set<KeyRange>();
  readonly #unreachable = new Map<KeyRange, string>();
  #listings = 0;
  /** Since when some range is unreachable; since when the store has lost its data. */
  #silent: Date | undefined;
  #lost: Date | undefined;

  constructor(kv: Kv, layout: Layout, log: Log, check: CheckNetwork) {
    this.#kv = kv;
    this.#layout = layout;
    this.#log = log;
    this.#ranges = layout.watched;
    const warn = (key: string, problem: string): void =>
      log.warn({ key: excerpt(key), problem: excerpt(problem) }, 'store key ignored');
    this.state = new ClusterState(layout, warn, check);
  }

  get problems(): readonly Problem[] {
    const [reason] = this.#unreachable.values();
    return [
      ...(this.#silent && reason !== undefined ? [silence(this.#silent, reason)] : []),
      ...(this.#lost ? [this.#loss(this.#lost)] : []),
      ...keyProblems(this.state, this.#layout),
    ];
  }

  /** Whether the store has lost its data: owners of keys should write them again. */
  get hasLostData(): boolean {
    return this.#wiped.size > 0;
  }

  /** How often a range was listed: what came from another store may have unrelated revisions. */
  get listings(): number {
    return this.#listings;
  }

  /**
   * Calls `follower` on each future change, and once if the state is already complete. Returns a function
   * that stops this.
   */
  follow(follower: Follower): () => void {
    this.#followers.add(follower);
    if (this.#isComplete) queueMicrotask(follower);
    if (!this.#running) {
      this.#running = new AbortController();
      for (const range of this.#ranges) void this.#run(range, this.#running.signal);
    }
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#stop();
    };
  }

  async *watch(signal: AbortSignal, last?: LastView): AsyncIterable<ClusterView> {
    if (last) this.state.assume(last);
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    let news = Promise.withResolvers<void>();
    const wake = (): void => news.resolve();
    const unfollow = this.follow(wake);
    ended.addEventListener('abort', wake);
    let yielded: ClusterView | undefined;
    try {
      while (!ended.aborted) {
        await news.promise;
        await pause(COALESCE, ended);
        news = Promise.withResolvers<void>();
        if (ended.aborted) return;
        const view = this.state.view();
        if (view && view !== yielded) yield view;
        yielded = view;
      }
    } finally {
      ended.removeEventListener('abort', wake);
      unfollow();
    }
  }

  /**
   * Returns the state of the whole cluster if the feed is running. Waits up to `patience` milliseconds for a
   * listing in progress; undefined if it takes longer.
   */
  async known(patience: number): Promise<ClusterState | undefined> {
    if (!this.#running) return undefined;
    const listed = Promise.withResolvers<void>();
    const unfollow = this.follow(() => listed.resolve());
    const waiting = new AbortController();
    await Promise.race([
      listed.promise,
      pause(patience, AbortSignal.any([waiting.signal, this.#closed.signal])),
    ]);
    waiting.abort();
    unfollow();
    return this.#isComplete && !this.hasLostData ? this.state : undefined;
  }

  /** Ends every watch. */
  close(): void {
    this.#closed.abort();
    this.#stop();
  }

  #stop(): void {
    this.#followers.clear();
    this.#running?.abort();
    this.#running = undefined;
    this.#listed.clear();
  }

  async #run(range: KeyRange, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    let from: From | undefined;
    while (!signal.aborted) {
      try {
        from ??= await this.#list(range, signal);
        const { store } = from;
        for await (const batch of this.#kv.watch(range, from.revision, signal, store)) {
          if (signal.aborted) return;
          backoff.reset();
          this.#onReachable(range);
          from = { revision: batch.revision + 1, store };
          this.state.apply(batch);
          this.#notify();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (codeOf(error) === 'STORE_COMPACTED') from = undefined;
        else this.#onUnreachable(range, error);
        await pause(backoff.next(), signal);
      }
    }
  }

  /** Lists until the list can be trusted; returns from where to watch. */
  async #list(range: KeyRange, signal: AbortSignal): Promise<From> {
    for (;;) {
      const { items, revision, store } = await this.#kv.list(range);
      const wiped = await this.#isWiped(range, items);
      signal.throwIfAborted();
      this.#onReachable(range);
      if (!wiped && !this.hasLostData) {
        this.state.reset(items, revision, range);
        this.#listed.add(range);
        this.#listings++;
        this.#doubted.delete(range);
        if (this.#doubted.size === 0) this.#lost = undefined;
        this.#notify();
        return { revision: revision + 1, store };
      }
      // An empty store does not prove that nodes are gone: agents get time to write them again.
      if (!this.hasLostData)
        this.#log.error({ revision }, 'the store has lost its data; keeping the last known state');
      if (wiped) this.#wiped.add(range);
      else this.#wiped.delete(range);
      this.#doubted.add(range);
      this.#lost ??= new Date();
      this.#notify();
      await pause(wiped ? SETTLE / 10 : SETTLE, signal);
      signal.throwIfAborted();
    }
  }

  /** Whether the store has no configuration or no nodes although we have seen some. */
  async #isWiped(range: KeyRange, items: readonly KeyValue[]): Promise<boolean> {
    if (!this.state.view()?.nodes.length) return false;
    // A range is trusted only if the others have not been lost either.
    const others = this.#ranges.filter((other) => other !== range);
    const lists = await Promise.all(others.map((other) => this.#kv.list(other)));
    const keys = [...items, ...lists.flatMap((list) => list.items)].map(({ key }) => key);
    const { config, leases, nodes } = this.#layout;
    return !keys.includes(config) || !keys.some((key) => key.startsWith(leases) || key.startsWith(nodes));
  }

  get #isComplete(): boolean {
    return this.#listed.size === this.#ranges.length;
  }

  /** Notifies followers, unless only part of the cluster is known. */
  #notify(): void {
    if (!this.#isComplete && !this.hasLostData) return;
    for (const follower of [...this.#followers]) follower();
  }

  #loss(since: Date): Problem {
    const { config } = this.#layout;
    return {
      id: 'store-lost-data',
      severity: 'error',
      what: `the store came back without its data at ${timeText(since)}`,
      cause: `${config} or every node was missing; the last known state stays in force`,
      fix: `restore the store, or write ${config} again`,
    };
  }

  #onUnreachable(range: KeyRange, error: unknown): void {
    const problem = messageOf(error);
    if (this.#unreachable.size === 0)
      this.#log.warn({ problem }, 'the store is unreachable; keeping the last known state');
    this.#unreachable.set(range, problem);
    this.#silent ??= new Date();
  }

  #onReachable(range: KeyRange): void {
    if (!this.#unreachable.delete(range) || this.#unreachable.size > 0) return;
    this.#silent = undefined;
    this.#log.info({ revision: this.state.revision }, 'the store is reachable again');
  }
}

function silence(since: Date, reason: string): Problem {
  return {
    id: 'store-unreachable',
    severity: 'warning',
    what: `the store has been out of reach since ${timeText(since)}`,
    cause: `${excerpt(reason)}; the last known state stays in force`,
    fix: 'check that it runs and lets this node in',
  };
}
