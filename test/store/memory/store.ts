import { EventEmitter } from 'node:events';
import type { Document } from '../../../src/cluster/calico/document.ts';
import { type Network, networkToNetConf, readNetwork } from '../../../src/cluster/network.ts';
import type { NodeFacts } from '../../../src/cluster/node.ts';
import { FlatnetError } from '../../../src/error.ts';
import type { Cidr } from '../../../src/ip/cidr.ts';
import type { Affinity, Block, Handle, IpamConfig } from '../../../src/store/ports/blocks.ts';
import type { NetworkStore } from '../../../src/store/ports/network.ts';
import type { Store } from '../../../src/store/ports/store.ts';
import { MemoryBlocks } from './blocks.ts';
import { MemoryFeed } from './feed.ts';
import { MemoryMembership } from './membership.ts';
import { Objects } from './objects.ts';
import { MemoryResources } from './resources.ts';

export type NodeObject = {
  readonly facts: NodeFacts;
  readonly subnets: readonly Cidr[];
  /** New with each `join`. */
  readonly instance: string;
};

/** The store's data, shared by any number of clients. */
export class Memory {
  readonly #news = new EventEmitter().setMaxListeners(0);
  readonly #changed = (): void => void this.#news.emit('change');
  readonly network = new Objects<Network>(this.#changed);
  readonly nodes = new Objects<NodeObject>(this.#changed);
  /** The node of each subnet. */
  readonly subnets = new Objects<string>(this.#changed);
  /** Challenges, by node. */
  readonly challenges = new Objects<string>(this.#changed);
  readonly resources = new Objects<Document>(this.#changed);
  /** `pools`: the pools being created. */
  readonly guards = new Objects<readonly Document[]>();
  readonly ipam = new Objects<IpamConfig>();
  readonly blocks = new Objects<Block>();
  readonly affinities = new Objects<Affinity>(this.#changed);
  readonly handles = new Objects<Handle>();

  /** Calls `listener` on each change until `signal` aborts. */
  follow(listener: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#news.on('change', listener);
    signal.addEventListener('abort', () => this.#news.off('change', listener), { once: true });
  }
}

/** A client of the in-memory store. */
export class MemoryStore implements Store {
  readonly network: NetworkStore;
  readonly membership: MemoryMembership;
  readonly feed: MemoryFeed;
  readonly resources: MemoryResources;
  readonly blocks: MemoryBlocks;
  readonly #closed = new AbortController();

  constructor(memory: Memory) {
    this.network = networkStore(memory.network);
    this.blocks = new MemoryBlocks(memory);
    this.resources = new MemoryResources(memory, this.blocks);
    this.membership = new MemoryMembership(memory, this.network, this.resources, this.#closed.signal);
    this.feed = new MemoryFeed(memory, this.#closed.signal);
  }

  close(): void {
    this.#closed.abort();
  }
}

/** What some networks were read from. */
const texts = new WeakMap<Network, string>();

function networkStore(objects: Objects<Network>): NetworkStore {
  return {
    async read() {
      const found = await objects.get('network');
      if (found) return found.value;
      throw new FlatnetError('there is no network configuration', { code: 'NOT_FOUND' });
    },
    async write(network) {
      const found = await objects.get('network');
      const written = await (found
        ? objects.replace('network', found, network)
        : objects.create('network', network));
      if (!written) await this.write(network);
    },
    async text() {
      const found = await objects.get('network');
      return found && { ...found, value: texts.get(found.value) ?? networkToNetConf(found.value) };
    },
    async replace(read, text) {
      const network = readNetwork(JSON.parse(text));
      texts.set(network, text);
      const written = await (read
        ? objects.replace('network', read, network)
        : objects.create('network', network));
      if (!written) throw new FlatnetError('has changed', { code: 'STORE_CONFLICT' });
    },
  };
}
