import { isDeepStrictEqual } from 'node:util';
import { pause } from '../../async/pause.ts';
import { checkChange, checkDeletion, type Occupied } from '../../cluster/calico/change.ts';
import { decode, type Resource } from '../../cluster/calico/decode.ts';
import { defaultPools } from '../../cluster/calico/default-pools.ts';
import { type Document, type Kind, readDocument, titleOf } from '../../cluster/calico/document.ts';
import { parseForeignJson, parseJson } from '../../cluster/json.ts';
import type { Network } from '../../cluster/network.ts';
import type { IpPool } from '../../cluster/resources.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { decodeRecord, type NodeRecord } from '../flannel/node-record.ts';
import type { Compare, KeyValue, Kv, Operation } from '../kv/kv.ts';
import type { BlockStore } from '../ports/blocks.ts';
import {
  type AppliedResource,
  type ApplyOutcome,
  poolUsage,
  type ResourceStore,
} from '../ports/resources.ts';
import type { Layout } from './layout.ts';

const MAX_RACES = 20;

/** Resources below `<prefix>/flatnet/resources/`, one key each, in JSON. */
export class EtcdResources implements ResourceStore {
  readonly #kv: Kv;
  readonly #layout: Layout;
  readonly #blocks: BlockStore;

  constructor(kv: Kv, layout: Layout, blocks: BlockStore) {
    this.#kv = kv;
    this.#layout = layout;
    this.#blocks = blocks;
  }

  async list(kind: Kind | undefined, warn: (problem: string) => void): Promise<AppliedResource[]> {
    const prefix = kind === undefined ? this.#layout.resources : this.#layout.resource(kind, '');
    const { items } = await this.#kv.list(prefix);
    return items.flatMap((item) => {
      try {
        return [appliedFrom(item)];
      } catch (error) {
        warn(`${item.key} is ignored: ${messageOf(error)}`);
        return [];
      }
    });
  }

  async get(kind: Kind, name: string): Promise<AppliedResource> {
    const item = await this.#kv.get(this.#layout.resource(kind, name));
    if (item) return appliedFrom(item);
    throw notFound(kind, name);
  }

  async apply(document: Document): Promise<ApplyOutcome> {
    const { kind, metadata } = document;
    const { key, value } = putDocument(this.#layout, document);
    return this.#untilWritten(titleOf(document), async () => {
      const guard = await this.#guard(kind);
      const item = await this.#kv.get(key);
      checkVersion(document, item);
      if (item && isDeepStrictEqual(JSON.parse(value), parsedJson(item))) return { done: 'unchanged' };
      const occupied = kind === 'IPPool' ? await this.occupied() : { pools: [], nodes: [] };
      checkChange(decode(document), item && readable(item), occupied);
      const isWritten = await this.#write(guard, item, { op: 'put', key, value }, metadata.name);
      return { done: isWritten && (item ? 'configured' : 'created') };
    });
  }

  async delete(kind: Kind, name: string, force = false): Promise<void> {
    const key = this.#layout.resource(kind, name);
    await this.#untilWritten(`${kind}/${name}`, async () => {
      const guard = await this.#guard(kind);
      const item = await this.#kv.get(key);
      if (!item) throw notFound(kind, name);
      const resource = force ? undefined : readable(item);
      if (resource?.kind === 'IPPool') {
        const blocks = (await this.#blocks.allBlocks()).map(({ value }) => value);
        checkDeletion(resource.value, poolUsage(resource.value, blocks));
      }
      return { done: (await this.#write(guard, item, { op: 'delete', key }, name)) && 'deleted' };
    });
  }

  /** Like Calico when there is no pool yet, but only once: a deleted default pool is not recreated. */
  async createDefaultPools(network: Network, existing: readonly IpPool[]): Promise<string[]> {
    const pools = existing.length > 0 ? [] : defaultPools(network);
    const puts = pools.map((pool) => putDocument(this.#layout, pool));
    const { succeeded } = await this.#kv.txn({
      compare: [{ key: this.#layout.pools, target: 'version', equals: 0 }],
      success: [{ op: 'put', key: this.#layout.pools, value: 'default' }, ...puts],
    });
    return succeeded ? pools.map(titleOf) : [];
  }

  async #untilWritten<T>(title: string, attempt: () => Promise<{ done: T | false }>): Promise<T> {
    for (let race = 0; race < MAX_RACES; race++) {
      const { done } = await attempt();
      if (done !== false) return done;
      await pause(Math.random() * 10 * (race + 1));
    }
    throw new FlatnetError(`lost ${MAX_RACES} races against other changes`, {
      code: 'STORE_CONFLICT',
      object: title,
      fix: 'try again',
    });
  }

  /** Conditions that must hold while a resource of that kind is checked. Read before everything else. */
  async #guard(kind: Kind): Promise<Compare[]> {
    if (kind !== 'IPPool') return [];
    const key = this.#layout.pools;
    const equals = (await this.#kv.get(key))?.modRevision ?? 0;
    return [{ key, target: 'modRevision', equals }];
  }

  async #write(
    guard: readonly Compare[],
    item: KeyValue | undefined,
    operation: Operation,
    name: string,
  ): Promise<boolean> {
    const { key } = operation;
    const { succeeded } = await this.#kv.txn({
      compare: [...guard, { key, target: 'modRevision', equals: item?.modRevision ?? 0 }],
      success: [operation, ...guard.map((each) => ({ op: 'put', key: each.key, value: name }) as const)],
    });
    return succeeded;
  }

  async occupied(): Promise<Occupied> {
    const [pools, nodes] = await Promise.all([
      this.list('IPPool', () => {}),
      this.#kv.list(this.#layout.nodes),
    ]);
    return {
      pools: pools.flatMap(({ resource }) => (resource.kind === 'IPPool' ? [resource.value] : [])),
      nodes: nodes.items.flatMap(({ value }) => nodeRecord(value) ?? []),
    };
  }
}

/** The operation that writes a resource, without its resourceVersion, which is the key's revision. */
export function putDocument(
  layout: Layout,
  document: Document,
): { readonly op: 'put'; readonly key: string; readonly value: string } {
  const { resourceVersion: _, ...metadata } = document.metadata;
  const value = JSON.stringify({ ...document, metadata });
  return { op: 'put', key: layout.resource(document.kind, metadata.name), value };
}

function nodeRecord(value: string): NodeRecord | undefined {
  try {
    return decodeRecord(value);
  } catch {
    return undefined;
  }
}

function appliedFrom(item: KeyValue): AppliedResource {
  const written = readDocument(parseJson(item.value));
  const metadata = { ...written.metadata, resourceVersion: `${item.modRevision}` };
  const document = { ...written, metadata };
  return { document, resource: decode(document) };
}

function parsedJson({ value }: KeyValue): unknown {
  try {
    return parseForeignJson(value);
  } catch {
    return undefined;
  }
}

/** Undefined for an unreadable resource, which may be replaced by any other. */
function readable(item: KeyValue): Resource | undefined {
  try {
    return appliedFrom(item).resource;
  } catch {
    return undefined;
  }
}

function checkVersion(document: Document, item: KeyValue | undefined): void {
  const { resourceVersion } = document.metadata;
  if (resourceVersion === undefined || !item || resourceVersion === `${item.modRevision}`) return;
  throw new FlatnetError(
    `has changed: it is at resourceVersion ${item.modRevision}, not ${resourceVersion}`,
    {
      code: 'STORE_CONFLICT',
      operation: 'apply',
      object: titleOf(document),
      fix: 'get it again, or leave resourceVersion out to overwrite it',
    },
  );
}

function notFound(kind: Kind, name: string): FlatnetError {
  return new FlatnetError('there is no such resource', { code: 'NOT_FOUND', object: `${kind}/${name}` });
}
