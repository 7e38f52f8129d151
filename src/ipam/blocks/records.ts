import { FlatnetError, messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import {
  DEFAULT_CONFIG,
  decodeBlock,
  decodeConfig,
  decodeHandle,
  encodeConfig,
  type Handle,
  type IpamConfig,
} from '../../store/etcd/block-codec.ts';
import type { AffinityState, IpamKeys } from '../../store/etcd/block-keys.ts';
import type { Compare, KeyValue, Kv, Operation } from '../../store/kv/kv.ts';
import type { Block } from './block.ts';

/** A value as it was read, with what a transaction needs to be sure that it still is so. */
export type Stored<T> = {
  readonly key: string;
  /** Of its last change; 0 when the store has no such key. */
  readonly revision: number;
  readonly value: T;
};

export type Affinity = Stored<AffinityState> & {
  readonly node: string;
  readonly cidr: Cidr;
  /** The store's revision at which it was announced. */
  readonly announced: number;
};

/** etcd runs no more operations in one transaction. */
const MAX_OPERATIONS = 128;
/** Blocks read at a time where many are looked through: half a megabyte when they are full. */
const PAGE = 32;
const NO_HANDLE: Handle = { addresses: [] };

/**
 * Reads and changes what the blocks plan keeps in the store. Throws STORE_UNAVAILABLE, and CONFIG_INVALID for
 * a value that cannot be read.
 */
export class IpamRecords {
  readonly keys: IpamKeys;
  readonly #kv: Kv;

  constructor(kv: Kv, keys: IpamKeys) {
    this.#kv = kv;
    this.keys = keys;
  }

  /** What the handle holds, nothing when it is unknown, and the cluster's configuration. */
  async handle(id: string): Promise<{ readonly handle: Stored<Handle>; readonly config: IpamConfig }> {
    const key = this.keys.handle(id);
    const [handle, config] = await this.#get([key, this.keys.config]);
    return {
      handle: handle ? stored(handle, decodeHandle) : { key, revision: 0, value: NO_HANDLE },
      config: config ? stored(config, decodeConfig).value : DEFAULT_CONFIG,
    };
  }

  /** What each of them holds. */
  async handles(ids: readonly string[]): Promise<Handle[]> {
    const found = await this.#get(ids.map((id) => this.keys.handle(id)));
    return found.map((item) => (item ? stored(item, decodeHandle).value : NO_HANDLE));
  }

  async config(): Promise<IpamConfig> {
    const found = await this.#kv.get(this.keys.config);
    return found ? stored(found, decodeConfig).value : DEFAULT_CONFIG;
  }

  /**
   * Changes what is named, and returns the whole. Throws STORE_CONFLICT when somebody else changes it at this
   * moment.
   */
  async configure(change: Partial<IpamConfig>): Promise<IpamConfig> {
    const { config: key } = this.keys;
    const found = await this.#kv.get(key);
    const config = { ...(found ? stored(found, decodeConfig).value : DEFAULT_CONFIG), ...change };
    if (Object.keys(change).length === 0) return config;
    const operation = { op: 'put', key, value: encodeConfig(config) } as const;
    if (await this.commit([unchanged({ key, revision: found?.modRevision ?? 0 })], [operation])) {
      return decodeConfig(operation.value);
    }
    throw new FlatnetError('somebody else changed it meanwhile', {
      code: 'STORE_CONFLICT',
      operation: 'ipam configure',
      object: key,
      fix: 'look at it and try again',
    });
  }

  /** Those of the blocks that exist, in the given order. */
  async blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]> {
    const found = await this.#get(cidrs.map((cidr) => this.keys.block(cidr)));
    return found.filter((item) => item !== undefined).map((item) => stored(item, decodeBlock));
  }

  /** The same, some at a time, for who may find what he looks for early. */
  async *pages(cidrs: readonly Cidr[]): AsyncGenerator<readonly Stored<Block>[]> {
    for (let at = 0; at < cidrs.length; at += PAGE) yield await this.blocks(cidrs.slice(at, at + PAGE));
  }

  /** Every block of the cluster: several kilobytes each, tens of megabytes where there are a thousand nodes. */
  async allBlocks(): Promise<Stored<Block>[]> {
    const { items } = await this.#kv.list(this.keys.blocks);
    return items.map((item) => stored(item, decodeBlock));
  }

  /** The claims of one node, or of all, oldest first. */
  async affinities(node?: string): Promise<Affinity[]> {
    const { items } = await this.#kv.list(this.keys.affinities(node));
    return items
      .flatMap((item) => affinityFrom(this.keys, item) ?? [])
      .sort((a, b) => a.announced - b.announced);
  }

  /** Runs the operations in one transaction if the comparisons hold; whether they did. */
  async commit(compare: readonly Compare[], success: readonly Operation[]): Promise<boolean> {
    return (await this.#kv.txn({ compare, success })).succeeded;
  }

  async #get(keys: readonly string[]): Promise<(KeyValue | undefined)[]> {
    const found: (KeyValue | undefined)[] = [];
    for (let at = 0; at < keys.length; at += MAX_OPERATIONS) {
      const success = keys.slice(at, at + MAX_OPERATIONS).map((key) => ({ op: 'get', key }) as const);
      const { results } = await this.#kv.txn({ compare: [], success });
      found.push(...results.map(({ items }) => items?.[0]));
    }
    return found;
  }
}

/** Holds while nobody has changed, made or deleted the key since it was read. */
export function unchanged({ key, revision }: { readonly key: string; readonly revision: number }): Compare {
  return { key, target: 'modRevision', equals: revision };
}

/** Undefined when the key or its value is not one of ours. */
export function affinityFrom(keys: IpamKeys, item: KeyValue): Affinity | undefined {
  const about = keys.kindOf(item.key);
  const { key, value, modRevision: revision, createRevision: announced } = item;
  if (about?.kind !== 'affinity' || (value !== 'pending' && value !== 'confirmed')) return undefined;
  return { key, revision, value, announced, node: about.node, cidr: about.cidr };
}

function stored<T>({ key, value, modRevision }: KeyValue, decode: (text: string) => T): Stored<T> {
  try {
    return { key, revision: modRevision, value: decode(value) };
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), {
      code: 'CONFIG_INVALID',
      operation: 'read',
      object: key,
      fix: 'see flatnet ipam check',
      cause,
    });
  }
}
