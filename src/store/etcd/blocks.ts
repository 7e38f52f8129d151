import { FlatnetError } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { KeyValue, Kv, Operation } from '../kv/kv.ts';
import {
  type Affinity,
  type AffinityState,
  type Block,
  type BlockStore,
  DEFAULT_IPAM_CONFIG,
  type Handle,
  type IpamConfig,
  type Snapshot,
  type Stored,
  type Version,
} from '../ports/blocks.ts';
import {
  decodeBlock,
  decodeConfig,
  decodeHandle,
  encodeBlock,
  encodeConfig,
  encodeHandle,
} from './block-codec.ts';
import { affinityFrom, snapshotOf, stored, unreadable, versionOf } from './block-items.ts';
import { BlockKeys } from './block-keys.ts';

/** etcd's limit for one transaction. */
const MAX_OPERATIONS = 128;

/** The `blocks` plan below `<prefix>/flatnet/ipam/`, one key per object. */
export class EtcdBlocks implements BlockStore {
  readonly #kv: Kv;
  readonly #keys: BlockKeys;

  constructor(kv: Kv, prefix: string) {
    this.#kv = kv;
    this.#keys = new BlockKeys(prefix);
  }

  async config(): Promise<IpamConfig> {
    const found = await this.#kv.get(this.#keys.config);
    return found ? stored(found, decodeConfig).value : DEFAULT_IPAM_CONFIG;
  }

  async configure(change: Partial<IpamConfig>): Promise<IpamConfig> {
    const { config: key } = this.#keys;
    const found = await this.#kv.get(key);
    const before = found && stored(found, decodeConfig);
    const next = { ...(before?.value ?? DEFAULT_IPAM_CONFIG), ...change };
    if (Object.keys(change).length === 0) return next;
    if (await this.#put(key, before, encodeConfig(next))) return decodeConfig(encodeConfig(next));
    throw new FlatnetError('it was changed concurrently', {
      code: 'STORE_CONFLICT',
      operation: 'ipam configure',
      object: key,
      fix: 'check the settings and try again',
    });
  }

  async blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]> {
    const found = await this.#get(cidrs.map((cidr) => this.#keys.block(cidr)));
    return found.flatMap((item) => (item ? this.#block(item) : []));
  }

  async allBlocks(): Promise<Stored<Block>[]> {
    const { items } = await this.#kv.list(this.#keys.blocks);
    return items.map((item) => this.#block(item));
  }

  async createBlock(block: Block): Promise<Stored<Block> | undefined> {
    const version = await this.#put(this.#keys.block(block.cidr), undefined, encodeBlock(block));
    return version && { value: block, version };
  }

  async replaceBlock(read: Stored<Block>, next: Block): Promise<Stored<Block> | undefined> {
    const version = await this.#put(this.#keys.block(next.cidr), read, encodeBlock(next));
    return version && { value: next, version };
  }

  deleteBlock(read: Stored<Block>): Promise<boolean> {
    return this.#delete(this.#keys.block(read.value.cidr), read);
  }

  async affinities(node?: string): Promise<Stored<Affinity>[]> {
    const { items } = await this.#kv.list(this.#keys.affinities(node));
    return items
      .toSorted((a, b) => a.createRevision - b.createRevision)
      .flatMap((item) => affinityFrom(this.#keys, item) ?? []);
  }

  async announce(node: string, cidr: Cidr): Promise<Stored<Affinity>> {
    const key = this.#keys.affinity(node, cidr);
    const pending: AffinityState = 'pending';
    const { succeeded, revision, results } = await this.#kv.txn({
      compare: [{ key, target: 'version', equals: 0 }],
      success: [{ op: 'put', key, value: pending }],
      failure: [{ op: 'get', key }],
    });
    if (succeeded) return { value: { node, cidr, state: pending }, version: versionOf(revision) };
    const [item] = results[0]?.items ?? [];
    const affinity = item && affinityFrom(this.#keys, item);
    if (affinity) return affinity;
    throw unreadable(key, `'${item?.value}' is not an affinity state`);
  }

  async setAffinity(read: Stored<Affinity>, state: AffinityState): Promise<Stored<Affinity> | undefined> {
    const { node, cidr } = read.value;
    const version = await this.#put(this.#keys.affinity(node, cidr), read, state);
    return version && { value: { node, cidr, state }, version };
  }

  deleteAffinity(read: Stored<Affinity>): Promise<boolean> {
    return this.#delete(this.#keys.affinity(read.value.node, read.value.cidr), read);
  }

  async handles(ids: readonly string[]): Promise<(Stored<Handle> | undefined)[]> {
    const found = await this.#get(ids.map((id) => this.#keys.handle(id)));
    return found.map((item) => item && stored(item, decodeHandle));
  }

  async writeHandle(
    id: string,
    read: Stored<Handle> | undefined,
    next: Handle,
  ): Promise<Stored<Handle> | undefined> {
    const version = await this.#put(this.#keys.handle(id), read, encodeHandle(next));
    return version && { value: next, version };
  }

  deleteHandle(id: string, read: Stored<Handle>): Promise<boolean> {
    return this.#delete(this.#keys.handle(id), read);
  }

  async snapshot(): Promise<Snapshot> {
    const { items } = await this.#kv.list(this.#keys.root);
    return snapshotOf(items, this.#keys);
  }

  #block(item: KeyValue): Stored<Block> {
    const block = stored(item, decodeBlock);
    const { cidr } = block.value;
    if (this.#keys.block(cidr) !== item.key) throw unreadable(item.key, `says it is block ${cidr}`);
    return block;
  }

  /**
   * `read`: undefined to create the key. Returns the new version, or undefined when the key has changed since
   * it was read.
   */
  async #put(
    key: string,
    read: { readonly version: Version } | undefined,
    value: string,
  ): Promise<Version | undefined> {
    const { succeeded, revision } = await this.#swap(key, read, { op: 'put', key, value });
    return succeeded ? versionOf(revision) : undefined;
  }

  async #delete(key: string, read: { readonly version: Version }): Promise<boolean> {
    return (await this.#swap(key, read, { op: 'delete', key })).succeeded;
  }

  #swap(
    key: string,
    read: { readonly version: Version } | undefined,
    operation: Operation,
  ): ReturnType<Kv['txn']> {
    const equals = read === undefined ? 0 : Number(read.version);
    return this.#kv.txn({ compare: [{ key, target: 'modRevision', equals }], success: [operation] });
  }

  async #get(keys: readonly string[]): Promise<(KeyValue | undefined)[]> {
    const [only] = keys;
    if (only !== undefined && keys.length === 1) return [await this.#kv.get(only)];
    const found: (KeyValue | undefined)[] = [];
    for (let at = 0; at < keys.length; at += MAX_OPERATIONS) {
      const success = keys.slice(at, at + MAX_OPERATIONS).map((key) => ({ op: 'get', key }) as const);
      const { results } = await this.#kv.txn({ compare: [], success });
      found.push(...results.map(({ items }) => items?.[0]));
    }
    return found;
  }
}
