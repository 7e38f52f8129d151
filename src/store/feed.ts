import { codeOf, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { Backoff } from './backoff.ts';
import type { Kv } from './kv.ts';
import type { Layout } from './layout.ts';
import { ClusterState } from './view.ts';

/** Hears which keys have changed, after `state` has them. */
export type Follower = (keys: ReadonlySet<string>) => void;

/**
 * Keeps a ClusterState equal to the store as long as somebody follows: lists, then watches from there. A connection that breaks is
 * resumed at the next revision; where that is no longer kept, everything is listed again.
 */
export class Feed {
  readonly state: ClusterState;
  readonly #kv: Kv;
  readonly #root: string;
  readonly #log: Log;
  readonly #followers = new Set<Follower>();
  #running: AbortController | undefined;
  #listed = false;
  #away = false;

  constructor(kv: Kv, layout: Layout, log: Log) {
    this.#kv = kv;
    this.#root = layout.root;
    this.#log = log;
    this.state = new ClusterState(layout, (key, problem) => log.warn({ key, problem }, 'store key ignored'));
  }

  /** Calls `follower` for each change from now on, and once at first if the state is already there. Returns the end of it. */
  follow(follower: Follower): () => void {
    this.#followers.add(follower);
    if (this.#listed) queueMicrotask(() => follower(new Set()));
    if (!this.#running) {
      this.#running = new AbortController();
      void this.#run(this.#running.signal);
    }
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size > 0) return;
      this.#running?.abort();
      this.#running = undefined;
      this.#listed = false;
    };
  }

  close(): void {
    this.#followers.clear();
    this.#running?.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    let next: number | undefined;
    while (!signal.aborted) {
      try {
        next ??= await this.#list();
        if (signal.aborted) return;
        for await (const batch of this.#kv.watch(this.#root, next, signal)) {
          if (signal.aborted) return;
          this.#back(backoff);
          next = batch.revision + 1;
          this.#tell(this.state.apply(batch));
        }
      } catch (error) {
        if (signal.aborted) return;
        if (codeOf(error) === 'STORE_COMPACTED') next = undefined;
        else this.#gone(error);
        await backoff.wait(signal).catch(() => {});
      }
    }
  }

  async #list(): Promise<number> {
    const { items, revision } = await this.#kv.list(this.#root);
    const keys = this.state.reset(items, revision);
    this.#listed = true;
    this.#tell(keys);
    return revision + 1;
  }

  #tell(keys: ReadonlySet<string>): void {
    for (const follower of [...this.#followers]) follower(keys);
  }

  #gone(error: unknown): void {
    if (!this.#away) this.#log.warn({ problem: messageOf(error) }, 'store is away; keeping what is known');
    this.#away = true;
  }

  #back(backoff: Backoff): void {
    backoff.reset();
    if (this.#away) this.#log.info({ revision: this.state.revision }, 'store is back');
    this.#away = false;
  }
}
