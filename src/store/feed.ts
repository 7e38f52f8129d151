import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import { ClusterState } from './cluster-state.ts';
import type { KeyValue, Kv } from './kv.ts';
import type { Layout } from './layout.ts';

/** Is told that `state` has changed, or that a watch stands again. */
export type Follower = () => void;

/** Milliseconds for which a store that had lost everything is given time to fill again. */
const SETTLE = 5_000;

/**
 * Keeps a ClusterState equal to the store as long as somebody follows: lists, then watches from there. A connection that
 * breaks is resumed at the next revision; where that is no longer kept, everything is listed again.
 */
export class Feed {
  readonly state: ClusterState;
  readonly #kv: Kv;
  readonly #layout: Layout;
  readonly #log: Log;
  readonly #followers = new Set<Follower>();
  #running: AbortController | undefined;
  #listed = false;
  #doubtful = false;
  #away = false;

  constructor(kv: Kv, layout: Layout, log: Log) {
    this.#kv = kv;
    this.#layout = layout;
    this.#log = log;
    this.state = new ClusterState(layout, (key, problem) => log.warn({ key, problem }, 'store key ignored'));
  }

  /** The store has forgotten what it had: whoever holds something there should write it again. */
  get doubtful(): boolean {
    return this.#doubtful;
  }

  /** Calls `follower` for each change from now on, and at first if the state is already there. Returns the end of it. */
  follow(follower: Follower): () => void {
    this.#followers.add(follower);
    if (this.#listed) queueMicrotask(follower);
    if (!this.#running) {
      this.#running = new AbortController();
      void this.#run(this.#running.signal);
    }
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.close();
    };
  }

  close(): void {
    this.#followers.clear();
    this.#running?.abort();
    this.#running = undefined;
    this.#listed = false;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    let next: number | undefined;
    while (!signal.aborted) {
      try {
        next ??= await this.#list(signal);
        for await (const batch of this.#kv.watch(this.#layout.root, next, signal)) {
          if (signal.aborted) return;
          this.#back(backoff);
          next = batch.revision + 1;
          this.state.apply(batch);
          this.#tell();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (codeOf(error) === 'STORE_COMPACTED') next = undefined;
        else this.#gone(error);
        await backoff.wait(signal).catch(() => {});
      }
    }
  }

  /** Lists until the list can be trusted; returns the revision to watch from. */
  async #list(signal: AbortSignal): Promise<number> {
    for (;;) {
      const { items, revision } = await this.#kv.list(this.#layout.root);
      signal.throwIfAborted();
      const wiped = this.#isWiped(items);
      if (!wiped && !this.#doubtful) {
        this.state.reset(items, revision);
        this.#listed = true;
        this.#tell();
        return revision + 1;
      }
      // Nothing is taken for gone because a store came back empty: the agents write their nodes again first.
      if (!this.#doubtful)
        this.#log.error({ revision }, 'the store has lost the cluster; keeping what is known');
      this.#doubtful = wiped;
      this.#tell();
      await sleep(wiped ? SETTLE / 10 : SETTLE, undefined, { signal });
    }
  }

  /** Without configuration or any node, though we have seen some. */
  #isWiped(items: readonly KeyValue[]): boolean {
    if (!this.state.view()?.nodes.length) return false;
    const { config, leases, nodes } = this.#layout;
    const isNode = (key: string): boolean => key.startsWith(leases) || key.startsWith(nodes);
    return !items.some(({ key }) => key === config) || !items.some(({ key }) => isNode(key));
  }

  #tell(): void {
    for (const follower of [...this.#followers]) follower();
  }

  #gone(error: unknown): void {
    if (!this.#away)
      this.#log.warn({ problem: messageOf(error) }, 'the store is away; keeping what is known');
    this.#away = true;
  }

  #back(backoff: Backoff): void {
    backoff.reset();
    if (this.#away) this.#log.info({ revision: this.state.revision }, 'the store is back');
    this.#away = false;
  }
}
