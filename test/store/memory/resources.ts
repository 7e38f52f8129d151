import { isDeepStrictEqual } from 'node:util';
import { checkChange, checkDeletion, type Occupied } from '../../../src/cluster/calico/change.ts';
import { decode } from '../../../src/cluster/calico/decode.ts';
import { defaultPools } from '../../../src/cluster/calico/default-pools.ts';
import { type Document, type Kind, titleOf } from '../../../src/cluster/calico/document.ts';
import type { Network } from '../../../src/cluster/network.ts';
import { FlatnetError } from '../../../src/error.ts';
import type { BlockStore, Stored } from '../../../src/store/ports/blocks.ts';
import {
  type AppliedResource,
  type ApplyOutcome,
  poolUsage,
  type ResourceStore,
} from '../../../src/store/ports/resources.ts';
import type { Memory } from './store.ts';

export class MemoryResources implements ResourceStore {
  readonly #memory: Memory;
  readonly #blocks: BlockStore;

  constructor(memory: Memory, blocks: BlockStore) {
    this.#memory = memory;
    this.#blocks = blocks;
  }

  async list(kind: Kind | undefined, _warn: (problem: string) => void): Promise<AppliedResource[]> {
    const all = await this.#memory.resources.list();
    return all
      .filter(([, { value }]) => kind === undefined || value.kind === kind)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, stored]) => appliedFrom(stored));
  }

  async get(kind: Kind, name: string): Promise<AppliedResource> {
    return appliedFrom(await this.#need(kind, name));
  }

  async apply(document: Document): Promise<ApplyOutcome> {
    const { resourceVersion, ...metadata } = document.metadata;
    const title = titleOf(document);
    const next = { ...document, metadata };
    const found = await this.#memory.resources.get(title);
    if (found && resourceVersion !== undefined && resourceVersion !== found.version) {
      throw new FlatnetError('has changed', { code: 'STORE_CONFLICT', object: title });
    }
    if (found && isDeepStrictEqual(found.value, next)) return 'unchanged';
    const isNewPool = document.kind === 'IPPool' && !found;
    const write = async (announced: readonly Document[]): Promise<ApplyOutcome> => {
      const occupied = await this.occupied();
      const pools = announced
        .map((each) => decode(each))
        .flatMap((each) => (each.kind === 'IPPool' ? [each.value] : []));
      checkChange(decode(next), found && decode(found.value), {
        ...occupied,
        pools: [...occupied.pools, ...pools],
      });
      const { resources } = this.#memory;
      const written = await (found ? resources.replace(title, found, next) : resources.create(title, next));
      if (written) return found ? 'configured' : 'created';
      return this.apply(document);
    };
    return isNewPool ? this.#announced(next, write) : write([]);
  }

  async delete(kind: Kind, name: string, force = false): Promise<void> {
    const found = await this.#need(kind, name);
    const resource = decode(found.value);
    if (resource.kind === 'IPPool' && !force) {
      const blocks = (await this.#blocks.allBlocks()).map(({ value }) => value);
      checkDeletion(resource.value, poolUsage(resource.value, blocks));
    }
    const isGone = await this.#memory.resources.delete(`${kind}/${name}`, found);
    if (!isGone) await this.delete(kind, name, force);
  }

  async occupied(): Promise<Occupied> {
    const pools = (await this.list('IPPool', () => {})).flatMap(({ resource }) =>
      resource.kind === 'IPPool' ? [resource.value] : [],
    );
    return { pools, nodes: (await this.#memory.nodes.list()).map(([, { value }]) => value.facts) };
  }

  /** Creates the pools before the marker that records it: concurrent calls create the same pools. */
  async makeDefaultPools(network: Network): Promise<void> {
    if (await this.#memory.guards.get('default pools')) return;
    const { pools } = await this.occupied();
    if (pools.length === 0) {
      for (const pool of defaultPools(network)) {
        const { resources } = this.#memory;
        await resources.create(titleOf(pool), pool);
      }
    }
    await this.#memory.guards.create('default pools', []);
  }

  /** One object lists the pools being created, in order: each is checked against those before it. */
  async #announced<T>(document: Document, work: (before: readonly Document[]) => Promise<T>): Promise<T> {
    const { guards } = this.#memory;
    await guards.create('pools', []);
    const found = await guards.get('pools');
    const before = found?.value ?? [];
    if (!found || !(await guards.replace('pools', found, [...before, document]))) {
      return this.#announced(document, work);
    }
    try {
      return await work(before);
    } finally {
      await this.#withdraw(document);
    }
  }

  async #withdraw(document: Document): Promise<void> {
    const found = await this.#memory.guards.get('pools');
    const rest = found?.value.filter((each) => each !== document) ?? [];
    if (found && !(await this.#memory.guards.replace('pools', found, rest))) await this.#withdraw(document);
  }

  async #need(kind: Kind, name: string): Promise<Stored<Document>> {
    const found = await this.#memory.resources.get(`${kind}/${name}`);
    if (found) return found;
    throw new FlatnetError('there is no such resource', { code: 'NOT_FOUND', object: `${kind}/${name}` });
  }
}

function appliedFrom({ value, version }: Stored<Document>): AppliedResource {
  const document = { ...value, metadata: { ...value.metadata, resourceVersion: version } };
  return { document, resource: decode(value) };
}
