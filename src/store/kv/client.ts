import { FlatnetError } from '../../error.ts';
import {
  asJson,
  asList,
  decodeEvent,
  decodeKeyValue,
  decodeNumber,
  decodeTransaction,
  encodeBytes,
  encodeCompare,
  encodeOperation,
  eventRevision,
  type Json,
  rangeOf,
  revisionOf,
} from './gateway.ts';
import type { KeyRange, KeyValue, Kv, Listing, Transaction, TransactionResult, WatchBatch } from './kv.ts';
import { Transport, type TransportOptions } from './transport.ts';
import { readWatch } from './watch-stream.ts';

export type EtcdOptions = TransportOptions & {
  /** Milliseconds of silence after which a watch is checked against the store; 30 000 by default. */
  readonly watchIdle?: number;
};

/** A client of etcd's v3 JSON gateway (etcd 3.4 and later), which the embedded server also implements. */
export class EtcdKv implements Kv {
  readonly #transport: Transport;
  readonly #watchIdle: number;

  constructor(options: EtcdOptions) {
    this.#transport = new Transport(options);
    this.#watchIdle = options.watchIdle ?? 30_000;
  }

  async get(key: string): Promise<KeyValue | undefined> {
    const answer = await this.#read('/v3/kv/range', { key: encodeBytes(key) });
    const [first] = asList(answer.kvs);
    return first === undefined ? undefined : decodeKeyValue(first);
  }

  async list(keys: string | KeyRange): Promise<Listing> {
    const answer = await this.#read('/v3/kv/range', rangeOf(keys));
    const items = asList(answer.kvs).map(decodeKeyValue);
    return { revision: revisionOf(answer), items, store: clusterOf(answer) };
  }

  async put(key: string, value: string, options: { readonly lease?: string } = {}): Promise<number> {
    const body = { key: encodeBytes(key), value: encodeBytes(value), lease: options.lease ?? '0' };
    return revisionOf(await this.#transport.call('/v3/kv/put', body));
  }

  async delete(key: string): Promise<number> {
    return decodeNumber(
      (await this.#transport.call('/v3/kv/deleterange', { key: encodeBytes(key) })).deleted,
    );
  }

  async txn(transaction: Transaction): Promise<TransactionResult> {
    const body = {
      compare: transaction.compare.map(encodeCompare),
      success: transaction.success.map(encodeOperation),
      failure: (transaction.failure ?? []).map(encodeOperation),
    };
    return decodeTransaction(await this.#transport.call('/v3/kv/txn', body));
  }

  async grant(ttlSeconds: number): Promise<{ id: string; ttl: number }> {
    // A grant sent twice leaves an empty lease, which expires.
    const answer = await this.#read('/v3/lease/grant', { TTL: String(ttlSeconds) });
    return { id: String(answer.ID), ttl: decodeNumber(answer.TTL) };
  }

  async keepAlive(id: string): Promise<number> {
    // A stream of one answer, whose error may come in the body.
    const { result, error } = await this.#read('/v3/lease/keepalive', { ID: id });
    if (error === undefined) return decodeNumber(asJson(result).TTL);
    throw new FlatnetError(String(asJson(error).message), {
      code: 'STORE_UNAVAILABLE',
      operation: 'store keepalive',
    });
  }

  async revoke(id: string): Promise<void> {
    try {
      await this.#read('/v3/lease/revoke', { ID: id });
    } catch (error) {
      if (!(error instanceof FlatnetError && error.code === 'NOT_FOUND')) throw error;
    }
  }

  async timeToLive(id: string): Promise<number> {
    return decodeNumber((await this.#read('/v3/lease/timetolive', { ID: id })).TTL);
  }

  async *watch(
    keys: string | KeyRange,
    from: number,
    signal: AbortSignal,
    store?: string,
  ): AsyncIterable<WatchBatch> {
    const range = rangeOf(keys);
    const create_request = { ...range, start_revision: String(from), progress_notify: true };
    let seen = from - 1;
    const stream = readWatch({
      open: () => this.#transport.stream('/v3/watch', { create_request }),
      idle: this.#watchIdle,
      isCurrent: () => this.#isCurrent(range, seen),
      signal,
    });
    for await (const answer of stream) {
      if (answer.canceled) throw this.#canceled(answer);
      if (answer.created) await this.#checkCreated(answer, range, from, store);
      const events = asList(answer.events);
      // While catching up, etcd sends several answers under the newest revision: we have only seen up to the
      // last event.
      const revision = events.length ? eventRevision(events.at(-1)) : revisionOf(answer);
      // The answer that confirms a new watch proves nothing: events may still be in flight.
      if (!answer.created) seen = Math.max(seen, revision);
      yield { revision: seen, events: events.map(decodeEvent) };
    }
  }

  close(): void {
    this.#transport.close();
  }

  #read(path: string, body: Json): Promise<Json> {
    return this.#transport.call(path, body, true);
  }

  /** False when the store has a change in the range newer than `seen`. */
  async #isCurrent({ key, range_end }: ReturnType<typeof rangeOf>, seen: number): Promise<boolean> {
    if ((await this.#revision(key)) <= seen) return true;
    const newer = { key, range_end, keys_only: true, limit: '1', min_mod_revision: String(seen + 1) };
    return asList((await this.#read('/v3/kv/range', newer)).kvs).length === 0;
  }

  /** The store's revision. Reading one key is cheap, and usually shows that nothing at all has changed. */
  async #revision(key: string): Promise<number> {
    return revisionOf(await this.#read('/v3/kv/range', { key, keys_only: true }));
  }

  /**
   * Throws STORE_COMPACTED if a new watch is of another store, or of one that lacks what has been seen. etcd
   * sends an event before it counts the event’s revision (watchableStoreTxnWrite.End), so a watch created at
   * that moment seems to be behind; a read waits for the revision.
   */
  async #checkCreated(
    answer: Json,
    { key }: ReturnType<typeof rangeOf>,
    from: number,
    listed: string | undefined,
  ): Promise<void> {
    const other = listed !== undefined && clusterOf(answer) !== listed;
    if (!other && (revisionOf(answer) >= from - 1 || (await this.#revision(key)) >= from - 1)) return;
    throw new FlatnetError(other ? 'the store was replaced by another one' : 'the store went back in time', {
      code: 'STORE_COMPACTED',
      operation: 'store watch',
      fix: 'list again',
    });
  }

  #canceled(answer: Json): FlatnetError {
    const compacted = decodeNumber(answer.compact_revision);
    const reason = String(answer.cancel_reason ?? 'canceled by the server');
    // On a watch, etcd reports an expired token as "permission denied".
    this.#transport.forgetToken();
    return new FlatnetError(compacted ? `history before revision ${compacted} has been compacted` : reason, {
      code: compacted || reason.includes('compacted') ? 'STORE_COMPACTED' : 'STORE_UNAVAILABLE',
      operation: 'store watch',
    });
  }
}

function clusterOf(answer: Json): string {
  return String(asJson(answer.header).cluster_id);
}
