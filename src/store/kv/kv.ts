/**
 * The part of etcd's v3 API that flatnet needs; test/store/kv/conformance.ts holds every implementation to
 * it. Every method throws STORE_UNAVAILABLE when no server answers; a write may have happened all the same.
 */
export interface Kv {
  get(key: string): Promise<KeyValue | undefined>;
  /**
   * All keys that start with `prefix` or are of the range, in key order, and the store's revision at that
   * moment.
   */
  list(keys: string | KeyRange): Promise<{ readonly revision: number; readonly items: readonly KeyValue[] }>;
  /**
   * Unconditional. Returns the new revision. `lease`: from `grant`; the key goes when the lease ends. Throws
   * NOT_FOUND when there is no such lease, USAGE when the value is too large (1.5 MiB).
   */
  put(key: string, value: string, options?: { readonly lease?: string }): Promise<number>;
  /** Returns how many keys were deleted: 0 or 1. */
  delete(key: string): Promise<number>;
  /** Atomic: all comparisons hold → `success`, otherwise `failure`. */
  txn(transaction: Transaction): Promise<TransactionResult>;
  /** Grants a lease. etcd may grant more than asked (its minimum is 2 s). */
  grant(ttlSeconds: number): Promise<{ readonly id: string; readonly ttl: number }>;
  /** Restarts the lease's time. Returns its seconds, or 0 when the lease is gone. */
  keepAlive(id: string): Promise<number>;
  /** Ends the lease and deletes its keys. A lease that is already gone is no error. */
  revoke(id: string): Promise<void>;
  /** Remaining seconds; −1 when there is no such lease. */
  timeToLive(id: string): Promise<number>;
  /**
   * Every change of those keys from revision `from` on, in order; `from` is at most one more than the newest.
   * A batch without events comes first, once the watch is established, and now and then as progress: to
   * resume, start from the last batch's revision + 1. Ends quietly when `signal` aborts. Throws
   * STORE_UNAVAILABLE when the connection breaks or turns out to be dead, and STORE_COMPACTED when `from` is
   * no longer kept, or belongs to another store than was listed: list again.
   */
  watch(keys: string | KeyRange, from: number, signal: AbortSignal): AsyncIterable<WatchBatch>;
  close(): void;
}

/** From `from` on, up to the key before `to`, in the order of their bytes. */
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

/** `version` 0 means: the key does not exist. */
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
