import type { Cidr } from '../../../src/ip/cidr.ts';
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
} from '../../../src/store/ports/blocks.ts';
import type { Memory } from './store.ts';

export class MemoryBlocks implements BlockStore {
  readonly #memory: Memory;

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  async config(): Promise<IpamConfig> {
    return (await this.#memory.ipam.get('config'))?.value ?? DEFAULT_IPAM_CONFIG;
  }

  async configure(change: Partial<IpamConfig>): Promise<IpamConfig> {
    const found = await this.#memory.ipam.get('config');
    const next = { ...(found?.value ?? DEFAULT_IPAM_CONFIG), ...change };
    const { ipam } = this.#memory;
    const written = await (found ? ipam.replace('config', found, next) : ipam.create('config', next));
    return written?.value ?? this.configure(change);
  }

  async blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]> {
    const found = await Promise.all(cidrs.map((cidr) => this.#memory.blocks.get(cidr)));
    return found.filter((each) => each !== undefined);
  }

  async allBlocks(): Promise<Stored<Block>[]> {
    return (await this.#memory.blocks.list()).map(([, stored]) => stored);
  }

  createBlock(block: Block): Promise<Stored<Block> | undefined> {
    return this.#memory.blocks.create(block.cidr, block);
  }

  replaceBlock(read: Stored<Block>, next: Block): Promise<Stored<Block> | undefined> {
    return this.#memory.blocks.replace(next.cidr, read, next);
  }

  deleteBlock(read: Stored<Block>): Promise<boolean> {
    return this.#memory.blocks.delete(read.value.cidr, read);
  }

  async affinities(node?: string): Promise<Stored<Affinity>[]> {
    const all = (await this.#memory.affinities.list()).map(([, stored]) => stored);
    return all.filter(({ value }) => node === undefined || value.node === node);
  }

  async announce(node: string, cidr: Cidr): Promise<Stored<Affinity>> {
    const { affinities } = this.#memory;
    const made = await affinities.create(nameOf({ node, cidr }), { node, cidr, state: 'pending' });
    return made ?? (await affinities.get(nameOf({ node, cidr }))) ?? this.announce(node, cidr);
  }

  setAffinity(read: Stored<Affinity>, state: AffinityState): Promise<Stored<Affinity> | undefined> {
    return this.#memory.affinities.replace(nameOf(read.value), read, { ...read.value, state });
  }

  deleteAffinity(read: Stored<Affinity>): Promise<boolean> {
    return this.#memory.affinities.delete(nameOf(read.value), read);
  }

  handles(ids: readonly string[]): Promise<(Stored<Handle> | undefined)[]> {
    return Promise.all(ids.map((id) => this.#memory.handles.get(id)));
  }

  writeHandle(
    id: string,
    read: Stored<Handle> | undefined,
    next: Handle,
  ): Promise<Stored<Handle> | undefined> {
    const { handles } = this.#memory;
    return read ? handles.replace(id, read, next) : handles.create(id, next);
  }

  deleteHandle(id: string, read: Stored<Handle>): Promise<boolean> {
    return this.#memory.handles.delete(id, read);
  }

  /** Not of a single moment. */
  async snapshot(): Promise<Snapshot> {
    const [config, affinities, blocks] = [
      await this.config(),
      await this.affinities(),
      await this.allBlocks(),
    ];
    return {
      config,
      affinities,
      blocks,
      handles: new Map(await this.#memory.handles.list()),
      unreadable: [],
    };
  }
}

function nameOf({ node, cidr }: Pick<Affinity, 'node' | 'cidr'>): string {
  return `${node}/${cidr}`;
}
