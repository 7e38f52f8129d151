/**
 * The part of etcd's v3 API that flatnet needs; test/store/kv/conformance.ts tests every implementation.
 * Every method throws STORE_UNAVAILABLE when no server answers; a write may nevertheless have happened.
 */
export interface Kv {
  get(key: string): Promise<KeyValue | undefined>;
  /** All keys that start with a prefix or are in a range, in key order. */
  list(keys: string | KeyRange): Promise<Listing>;
  /**
   * Writes unconditionally. Returns the new revision. `lease`: from `grant`; the key is deleted when the
   * lease ends. Throws NOT_FOUND when there is no such lease, USAGE when the value is too large (1.5 MiB).
   */
  put(key: string, value: string, options?: { readonly lease?: string }): Promise<number>;
  /** Returns how many keys were deleted: 0 or 1. */
  delete(key: string): Promise<number>;
  /** Atomically runs `success` if all comparisons hold, otherwise `failure`. */
  txn(transaction: Transaction): Promise<TransactionResult>;
  /** Grants a lease. etcd may grant more than requested (its minimum is 2 s). */
  grant(ttlSeconds: number): Promise<{ readonly id: string; readonly ttl: number }>;
  /** Renews the lease. Returns its TTL in seconds, or 0 when the lease is gone. */
  keepAlive(id: string): Promise<number>;
  /** Ends the lease and deletes its keys. A lease that is already gone is not an error. */
  revoke(id: string): Promise<void>;
  /** Remaining seconds; −1 when there is no such lease. */
  timeToLive(id: string): Promise<number>;
  /**
   * Yields every change to those keys since revision `from`, in order; `from` is at most the newest revision
   * plus one. Batches without events come first, once the watch is established, and later as progress
   * reports: to resume, start from the last batch's revision + 1. Ends quietly when `signal` aborts. Throws
   * STORE_UNAVAILABLE when the connection breaks or turns out to be dead, and STORE_COMPACTED when `from` has
   * been compacted or is of another store than `store`, which a list named: list again.
   */
  watch(
    keys: string | KeyRange,
    from: number,
    signal: AbortSignal,
    store?: string,
  ): AsyncIterable<WatchBatch>;
  close(): void;
}

export type Listing = {
  readonly items: readonly KeyValue[];
  /** The store's at that time. */
  readonly revision: number;
  /**
   * Identifies the store: one that takes its place behind the same endpoint (restored, rebuilt) has
   * unrelated revisions.
   */
  readonly store: string;
};

/** Keys from `from` up to, excluding, `to`, in byte order. */
export type KeyRange = { readonly from: string; readonly to: string };

export type KeyValue = {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Decimal int64; `'0'` when the key has no lease (flannel's reservation). */
  readonly lease: string;
};

export type Transaction = {
  readonly compare: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure?: readonly Operation[];
};

/** `version` 0 means that the key does not exist. */
export type Compare =
  | {
      readonly key: string;
      readonly target: 'version' | 'createRevision' | 'modRevision';
      readonly equals: number;
    }
  | { readonly key: string; readonly target: 'value'; readonly equals: string };

export type Operation =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'delete'; readonly key: string };

export type TransactionResult = {
  readonly succeeded: boolean;
  readonly revision: number;
  /** One entry per operation run: the keys a `get` found, the count a `delete` removed. */
  readonly results: readonly { readonly items?: readonly KeyValue[]; readonly deleted?: number }[];
};

export type WatchBatch = {
  readonly revision: number;
  readonly events: readonly WatchEvent[];
};

export type WatchEvent =
  | { readonly type: 'put'; readonly item: KeyValue }
  | { readonly type: 'delete'; readonly key: string };
