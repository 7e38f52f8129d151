import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { KeyValue, Kv, WatchBatch } from '../kv/kv.ts';

export type ReplicaOptions = {
  readonly kv: Kv;
  /** Of all keys to be followed. */
  readonly prefix: string;
  /**
   * Without this key, the store has lost its data: what was known stays, although keys that begin with
   * `guards` are gone.
   */
  readonly proof?: { readonly key: string; readonly guards: string };
  readonly log: Log;
};

/** Follows the keys with a prefix: lists them, then watches them from there on. */
export class Replica {
  readonly #options: ReplicaOptions;
  readonly #items = new Map<string, KeyValue>();
  #isListed = false;
  #outage: { readonly since: Date; readonly reason: string } | undefined;

  constructor(options: ReplicaOptions) {
    this.#options = options;
  }

  get items(): ReadonlyMap<string, KeyValue> {
    return this.#items;
  }

  get isListed(): boolean {
    return this.#isListed;
  }

  /** Why what is known may be out of date. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#outage;
  }

  /** Until `signal` aborts. `changed` gets the keys that were written or deleted, also those of a list. */
  async run(signal: AbortSignal, changed: (keys: readonly string[]) => void): Promise<void> {
    const { kv, prefix } = this.#options;
    const backoff = new Backoff();
    let from: { revision: number; readonly store: string } | undefined;
    while (!signal.aborted) {
      try {
        from ??= await this.#list(signal, changed);
        for await (const batch of kv.watch(prefix, from.revision, signal, from.store)) {
          if (signal.aborted) return;
          backoff.reset();
          if (this.#mayBeLoss(batch)) await this.#prove();
          this.#outage = undefined;
          from.revision = batch.revision + 1;
          for (const event of batch.events) {
            if (event.type === 'put') this.#items.set(event.item.key, event.item);
            else this.#items.delete(event.key);
          }
          const keys = batch.events.map((event) => (event.type === 'put' ? event.item.key : event.key));
          if (keys.length > 0) changed(keys);
        }
      } catch (error) {
        if (signal.aborted) return;
        const code = codeOf(error);
        if (code === 'STORE_COMPACTED' || code === 'NOT_FOUND') from = undefined;
        if (code !== 'STORE_COMPACTED') this.#failed(error);
        await pause(backoff.next(), signal);
      }
    }
  }

  async #list(
    signal: AbortSignal,
    changed: (keys: readonly string[]) => void,
  ): Promise<{ revision: number; readonly store: string }> {
    const { kv, prefix } = this.#options;
    const { items, revision, store } = await kv.list(prefix);
    await this.#prove();
    signal.throwIfAborted();
    const listed = new Map(items.map((item) => [item.key, item]));
    const gone = [...this.#items.keys()].filter((key) => !listed.has(key));
    for (const key of gone) this.#items.delete(key);
    for (const [key, item] of listed) this.#items.set(key, item);
    this.#isListed = true;
    this.#outage = undefined;
    changed([...gone, ...listed.keys()]);
    return { revision: revision + 1, store };
  }

  #mayBeLoss({ events }: WatchBatch): boolean {
    const { proof } = this.#options;
    return events.some((event) => event.type !== 'put' && proof && event.key.startsWith(proof.guards));
  }

  async #prove(): Promise<void> {
    const { kv, proof } = this.#options;
    if (!proof || (await kv.get(proof.key))) return;
    throw new FlatnetError('is missing: the store has no network, or has lost its data', {
      code: 'NOT_FOUND',
      object: proof.key,
    });
  }

  #failed(error: unknown): void {
    const reason = messageOf(error);
    const { log, prefix } = this.#options;
    if (reason !== this.#outage?.reason) log.warn({ prefix, reason }, 'cannot be followed');
    this.#outage = { since: this.#outage?.since ?? new Date(), reason };
  }
}
