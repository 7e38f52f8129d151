import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { KeyRange, KeyValue, Kv } from '../kv/kv.ts';
import type { ClusterFeed, ClusterView } from '../ports/feed.ts';
import { ClusterState } from './cluster-state.ts';
import type { Layout } from './layout.ts';

/** Hears that `state` has changed, or that a watch is established again. */
export type Follower = () => void;

/** Milliseconds that a store which has lost everything gets to fill up again. */
const SETTLE = 5_000;
/** Milliseconds: changes that come this close together make one view. */
const COALESCE = 10;

/**
 * Keeps a ClusterState equal to the store as long as somebody follows: lists each key range, then watches it
 * from there. A broken watch resumes at the next revision; if that is no longer kept, the range is listed
 * again.
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
  /** The key ranges, each followed by itself, that are known; that came back empty; that are out of reach. */
  readonly #listed = new Set<KeyRange>();
  readonly #doubtful = new Set<KeyRange>();
  readonly #away = new Set<KeyRange>();

  constructor(kv: Kv, layout: Layout, log: Log) {
    this.#kv = kv;
    this.#layout = layout;
    this.#log = log;
    this.#ranges = layout.watched;
    this.state = new ClusterState(layout, (key, problem) => log.warn({ key, problem }, 'store key ignored'));
  }

  /** The store has forgotten what it had: whoever holds something in it should write it again. */
  get doubtful(): boolean {
    return this.#doubtful.size > 0;
  }

  /**
   * Calls `follower` on each change from now on, and once if the state is already complete. Returns how to
   * stop it.
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
      if (this.#followers.size === 0) this.#end();
    };
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClusterView> {
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    let news = Promise.withResolvers<void>();
    const wake = (): void => news.resolve();
    const unfollow = this.follow(wake);
    ended.addEventListener('abort', wake);
    let last: ClusterView | undefined;
    try {
      while (!ended.aborted) {
        await news.promise;
        await pause(COALESCE, ended);
        news = Promise.withResolvers<void>();
        if (ended.aborted) return;
        const view = this.state.view();
        if (view && view !== last) yield view;
        last = view;
      }
    } finally {
      ended.removeEventListener('abort', wake);
      unfollow();
    }
  }

  /**
   * What is known of the whole cluster, if somebody is following. Waits for a list that is under way;
   * undefined if that takes longer than `patience` milliseconds.
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
    return this.#isComplete && !this.doubtful ? this.state : undefined;
  }

  /** Ends every watch. */
  close(): void {
    this.#closed.abort();
    this.#end();
  }

  #end(): void {
    this.#followers.clear();
    this.#running?.abort();
    this.#running = undefined;
    this.#listed.clear();
  }

  async #run(range: KeyRange, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    let next: number | undefined;
    while (!signal.aborted) {
      try {
        next ??= await this.#list(range, signal);
        for await (const batch of this.#kv.watch(range, next, signal)) {
          if (signal.aborted) return;
          backoff.reset();
          this.#back(range);
          next = batch.revision + 1;
          this.state.apply(batch);
          this.#tell();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (codeOf(error) === 'STORE_COMPACTED') next = undefined;
        else this.#gone(range, error);
        await pause(backoff.next(), signal);
      }
    }
  }

  /** Lists until the list can be trusted; returns the revision to watch from. */
  async #list(range: KeyRange, signal: AbortSignal): Promise<number> {
    for (;;) {
      const { items, revision } = await this.#kv.list(range);
      const wiped = await this.#isWiped(range, items);
      signal.throwIfAborted();
      if (!wiped && !this.doubtful) {
        this.state.reset(items, revision, range);
        this.#listed.add(range);
        this.#tell();
        return revision + 1;
      }
      // A store that came back empty proves nothing gone: first the agents write their nodes again.
      if (!this.doubtful)
        this.#log.error({ revision }, 'the store has lost the cluster; keeping what is known');
      if (wiped) this.#doubtful.add(range);
      else this.#doubtful.delete(range);
      this.#tell();
      await pause(wiped ? SETTLE / 10 : SETTLE, signal);
      signal.throwIfAborted();
    }
  }

  /** It has no configuration or no nodes, though we have seen some. */
  async #isWiped(range: KeyRange, items: readonly KeyValue[]): Promise<boolean> {
    if (!this.state.view()?.nodes.length) return false;
    // A range is believed only if the others have not been lost either.
    const others = this.#ranges.filter((other) => other !== range);
    const lists = await Promise.all(others.map((other) => this.#kv.list(other)));
    const keys = [...items, ...lists.flatMap((list) => list.items)].map(({ key }) => key);
    const { config, leases, nodes } = this.#layout;
    return !keys.includes(config) || !keys.some((key) => key.startsWith(leases) || key.startsWith(nodes));
  }

  get #isComplete(): boolean {
    return this.#listed.size === this.#ranges.length;
  }

  /** Half a cluster makes no view. */
  #tell(): void {
    if (!this.#isComplete && !this.doubtful) return;
    for (const follower of [...this.#followers]) follower();
  }

  #gone(range: KeyRange, error: unknown): void {
    if (this.#away.size === 0)
      this.#log.warn({ problem: messageOf(error) }, 'the store is away; keeping what is known');
    this.#away.add(range);
  }

  #back(range: KeyRange): void {
    if (!this.#away.delete(range) || this.#away.size > 0) return;
    this.#log.info({ revision: this.state.revision }, 'the store is back');
  }
}
