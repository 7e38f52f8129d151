import { isDeepStrictEqual } from 'node:util';
import { collect, decode, type Resource } from '../../../src/cluster/calico/decode.ts';
import type { Document } from '../../../src/cluster/calico/document.ts';
import type { Node } from '../../../src/cluster/node.ts';
import { ipCompare } from '../../../src/ip/address.ts';
import { addressOf } from '../../../src/ip/cidr.ts';
import type { Stored } from '../../../src/store/ports/blocks.ts';
import type { ClusterFeed, ClusterView } from '../../../src/store/ports/feed.ts';
import type { Memory } from './store.ts';

export class MemoryFeed implements ClusterFeed {
  readonly #memory: Memory;
  readonly #closed: AbortSignal;
  readonly problems = [];
  #view: ClusterView | undefined;
  readonly #decoded = new WeakMap<Stored<Document>, Resource>();

  constructor(memory: Memory, closed: AbortSignal) {
    this.#memory = memory;
    this.#closed = closed;
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClusterView> {
    const ended = AbortSignal.any([signal, this.#closed]);
    let news = Promise.withResolvers<void>();
    const wake = (): void => news.resolve();
    this.#memory.follow(wake, ended);
    ended.addEventListener('abort', wake);
    let last: ClusterView | undefined;
    while (!ended.aborted) {
      const view = this.#look();
      if (view && view !== last) yield view;
      last = view;
      await news.promise;
      news = Promise.withResolvers<void>();
    }
  }

  /** The same object while unchanged. */
  #look(): ClusterView | undefined {
    const network = this.#memory.network.known.get('network')?.value;
    if (!network) return undefined;
    const before = this.#view;
    const found = [...this.#memory.nodes.known.values()].map(({ value: { facts, subnets } }): Node => {
      const node = {
        ...facts,
        subnets: network.addresses === 'blocks' ? this.#blocksOf(facts.name) : subnets,
      };
      const same = before?.nodes.find(({ name }) => name === facts.name);
      return same && isDeepStrictEqual(same, node) ? same : node;
    });
    const nodes = found.sort((a, b) => (a.name < b.name ? -1 : 1));
    const all = [...this.#memory.resources.known.values()].map((each) => this.#decode(each));
    const collected = collect(all, before?.resources);
    const resources = before && isDeepStrictEqual(before.resources, collected) ? before.resources : collected;
    const view = { network, nodes, resources };
    if (!before || !isDeepStrictEqual(before, view)) this.#view = view;
    return this.#view;
  }

  #blocksOf(name: string): Node['subnets'] {
    return [...this.#memory.affinities.known.values()]
      .filter(({ value: { node, state } }) => node === name && state === 'confirmed')
      .map(({ value: { cidr } }) => cidr)
      .sort((a, b) => ipCompare(addressOf(a), addressOf(b)));
  }

  #decode(stored: Stored<Document>): Resource {
    const known = this.#decoded.get(stored) ?? decode(stored.value);
    this.#decoded.set(stored, known);
    return known;
  }
}
