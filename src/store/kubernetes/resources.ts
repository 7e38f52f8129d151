import { isDeepStrictEqual } from 'node:util';
import { pause } from '../../async/pause.ts';
import { checkChange, checkDeletion, type Occupied } from '../../cluster/calico/change.ts';
import { decode, type Resource } from '../../cluster/calico/decode.ts';
import { defaultPools } from '../../cluster/calico/default-pools.ts';
import { type Document, KINDS, type Kind, titleOf } from '../../cluster/calico/document.ts';
import type { Network } from '../../cluster/network.ts';
import type { IpPool } from '../../cluster/resources.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { overlaps } from '../../ip/cidr.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { change, getIfAny } from '../../kubernetes/change.ts';
import type { BlockStore } from '../ports/blocks.ts';
import {
  type AppliedResource,
  type ApplyOutcome,
  poolUsage,
  type ResourceStore,
} from '../ports/resources.ts';
import { CONFIG_NAME } from './block-object.ts';
import { calicosOf, hasPools, readCalicos } from './calico-objects.ts';
import { GROUP, IPAM_CONFIGS, RESOURCE_TYPES } from './crds.ts';
import { documentOf, isUnchecked, resourceObject, unchecked } from './resource-object.ts';

const MAX_RACES = 20;

/** Attempts after which an announced pool that is still there counts as left behind. */
const PATIENCE = 5;

/** On the IPAMConfig once the default pools have been created: deleted ones do not return. */
const POOLS_CREATED = `${GROUP}/default-pools-created`;

const POOLS = RESOURCE_TYPES.IPPool;

/** Resources as objects of `flatnet.dev/v1`, which may as well be applied with kubectl. */
export class KubernetesResources implements ResourceStore {
  readonly #client: KubernetesClient;
  readonly #blocks: BlockStore;
  readonly #nodes: () => Promise<Occupied['nodes']>;

  /** `nodes`: the cluster's, whose addresses no pool may hold. */
  constructor(client: KubernetesClient, blocks: BlockStore, nodes: () => Promise<Occupied['nodes']>) {
    this.#client = client;
    this.#blocks = blocks;
    this.#nodes = nodes;
  }

  async list(kind: Kind | undefined, warn: (problem: string) => void): Promise<AppliedResource[]> {
    const kinds = kind === undefined ? KINDS.toSorted() : [kind];
    const lists = await Promise.all(kinds.map((each) => this.#listInForce(each, warn)));
    return lists.flat();
  }

  async get(kind: Kind, name: string): Promise<AppliedResource> {
    const object = await this.#find(kind, name);
    if (object && !isUnchecked(object)) return appliedFrom(kind, object);
    const inForce = await this.#listInForce(kind, () => {});
    const calicos = inForce.find(({ document }) => document.metadata.name === name);
    if (calicos) return calicos;
    throw notFound(kind, name);
  }

  apply(document: Document): Promise<ApplyOutcome> {
    const { kind, metadata } = document;
    const next = resourceObject(document);
    const announcements = new Map<string, number>();
    return untilWritten(titleOf(document), async () => {
      const found = await this.#find(kind, metadata.name);
      if (found && isUnchecked(found)) return this.#withdraw(found);
      checkVersion(document, found);
      if (found && isSame(document, found)) return 'unchanged';
      const before = found && readable(kind, found);
      const resource = decode(document);
      const occupied = kind === 'IPPool' ? await this.occupied() : { pools: [], nodes: [] };
      checkChange(resource, before, occupied);
      if (found) return (await this.#replace(kind, next, found)) && 'configured';
      if (resource.kind === 'IPPool')
        return (await this.#createPool(next, resource.value, announcements)) && 'created';
      return (await this.#create(kind, next)) && 'created';
    });
  }

  async delete(kind: Kind, name: string, force = false): Promise<void> {
    await untilWritten(`${kind}/${name}`, async () => {
      const found = await this.#find(kind, name);
      if (!found || isUnchecked(found)) throw notFound(kind, name);
      const resource = force ? undefined : readable(kind, found);
      if (resource?.kind === 'IPPool') {
        const blocks = (await this.#blocks.allBlocks()).map(({ value }) => value);
        checkDeletion(resource.value, poolUsage(resource.value, blocks));
      }
      return this.#delete(kind, found);
    });
  }

  async occupied(): Promise<Occupied> {
    const [pools, nodes] = await Promise.all([this.#list('IPPool', () => {}), this.#nodes()]);
    return { pools: pools.flatMap(({ resource }) => poolIn(resource)), nodes };
  }

  /**
   * Like Calico when there is no pool yet, but only once: a deleted default pool is not created again. Nodes
   * that do so at once create the same ones. Creates none, which would put Calico's out of force, where
   * Calico has pools, or may have some that are not ours to read; returns whether that is unknown.
   */
  async createDefaultPools(network: Network): Promise<{ readonly isUnknown: boolean }> {
    const config = await getIfAny(this.#client, IPAM_CONFIGS, { name: CONFIG_NAME });
    if (config?.metadata.annotations?.[POOLS_CREATED] !== undefined) return { isUnknown: false };
    const { pools } = await this.occupied();
    if (pools.length === 0) {
      const calicos = await hasPools(this.#client);
      if (calicos !== 'no') return { isUnknown: calicos === 'unknown' };
      for (const pool of defaultPools(network)) await this.#create('IPPool', resourceObject(pool));
    }
    await change(this.#client, IPAM_CONFIGS, { name: CONFIG_NAME }, (current) => {
      const object = current ?? { metadata: { name: CONFIG_NAME }, spec: {} };
      const annotations = { ...object.metadata.annotations, [POOLS_CREATED]: 'true' };
      return { ...object, metadata: { ...object.metadata, annotations } };
    });
    return { isUnknown: false };
  }

  /** Ours, or Calico's where there are none of ours. */
  async #listInForce(kind: Kind, warn: (problem: string) => void): Promise<AppliedResource[]> {
    let unreadable = 0;
    const own = await this.#list(kind, (problem) => {
      unreadable++;
      warn(problem);
    });
    if (own.length + unreadable > 0) return own;
    const objects = (await calicosOf(this.#client, kind)) ?? [];
    return objects.flatMap((object) => readCalicos(kind, object, warn) ?? []);
  }

  async #list(kind: Kind, warn: (problem: string) => void): Promise<AppliedResource[]> {
    const { items } = await list(this.#client, RESOURCE_TYPES[kind], (object) => {
      if (isUnchecked(object)) return undefined;
      try {
        return appliedFrom(kind, object);
      } catch (error) {
        warn(`${kind}/${object.metadata.name} is ignored: ${messageOf(error)}`);
        return undefined;
      }
    });
    return [...items];
  }

  /**
   * Without a transaction over two pools: announces the pool, looks for others, and lets it count only if
   * there are none. Of two that are announced at once, at least one sees the other and deletes it or itself;
   * and what has been deleted cannot be confirmed. `announcements` counts in how many attempts each was seen.
   */
  async #createPool(
    next: KubernetesObject,
    pool: IpPool,
    announcements: Map<string, number>,
  ): Promise<boolean> {
    const announced = await this.#create('IPPool', unchecked(next));
    if (!announced) return false;
    const uid = `${announced.metadata.uid}`;
    const { items: others } = await list(this.#client, POOLS, (object) =>
      object.metadata.uid !== uid && overlapsWith(object, pool) ? object : undefined,
    );
    const isSecond = others.some((each) => {
      if (!isUnchecked(each)) return true;
      const other = `${each.metadata.uid}`;
      const seen = (announcements.get(other) ?? 0) + 1;
      announcements.set(other, seen);
      return other < uid && seen <= PATIENCE;
    });
    if (isSecond) {
      await this.#delete('IPPool', announced);
      return false;
    }
    for (const other of others) if (!(await this.#delete('IPPool', other))) return this.#withdraw(announced);
    return this.#replace('IPPool', next, announced);
  }

  /** Removes a pool whose creation was not finished, our own or one left behind. Always returns false. */
  async #withdraw(object: KubernetesObject): Promise<false> {
    await this.#delete('IPPool', object);
    return false;
  }

  #find(kind: Kind, name: string): Promise<KubernetesObject | undefined> {
    return getIfAny(this.#client, RESOURCE_TYPES[kind], { name });
  }

  /** Undefined if it exists. */
  async #create(kind: Kind, object: KubernetesObject): Promise<KubernetesObject | undefined> {
    try {
      return await this.#client.create(RESOURCE_TYPES[kind], object);
    } catch (error) {
      if (codeOf(error) === 'STORE_EXISTS') return undefined;
      throw error;
    }
  }

  #replace(kind: Kind, next: KubernetesObject, { metadata }: KubernetesObject): Promise<boolean> {
    const { uid = '', resourceVersion = '' } = metadata;
    const object = { ...next, metadata: { ...next.metadata, uid, resourceVersion } };
    return isWritten(this.#client.replace(RESOURCE_TYPES[kind], object));
  }

  #delete(kind: Kind, { metadata }: KubernetesObject): Promise<boolean> {
    const { name, uid, resourceVersion } = metadata;
    return isWritten(this.#client.delete(RESOURCE_TYPES[kind], { name }, { uid, resourceVersion }));
  }
}

/** False if another was faster. */
async function isWritten(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (['NOT_FOUND', 'STORE_CONFLICT'].includes(codeOf(error) ?? '')) return false;
    throw error;
  }
}

async function untilWritten<T>(title: string, attempt: () => Promise<T | false | undefined>): Promise<T> {
  for (let race = 0; race < MAX_RACES; race++) {
    const done = await attempt();
    if (done !== false && done !== undefined) return done;
    await pause(Math.random() * 10 * (race + 1));
  }
  throw new FlatnetError(`lost ${MAX_RACES} races against other changes`, {
    code: 'STORE_CONFLICT',
    object: title,
    fix: 'try again',
  });
}

function appliedFrom(kind: Kind, object: KubernetesObject): AppliedResource {
  const document = documentOf(kind, object);
  return { document, resource: decode(document) };
}

/** Undefined for an unreadable resource, which may be replaced by any other. */
function readable(kind: Kind, object: KubernetesObject): Resource | undefined {
  try {
    return appliedFrom(kind, object).resource;
  } catch {
    return undefined;
  }
}

function isSame(document: Document, found: KubernetesObject): boolean {
  try {
    return isDeepStrictEqual(resourceObject(document), resourceObject(documentOf(document.kind, found)));
  } catch {
    return false;
  }
}

function poolIn(resource: Resource | undefined): IpPool[] {
  return resource?.kind === 'IPPool' ? [resource.value] : [];
}

function overlapsWith(object: KubernetesObject, pool: IpPool): boolean {
  return poolIn(readable('IPPool', object)).some(({ cidr }) => overlaps(cidr, pool.cidr));
}

function checkVersion(document: Document, found: KubernetesObject | undefined): void {
  const { resourceVersion } = document.metadata;
  const current = found?.metadata.resourceVersion;
  if (resourceVersion === undefined || !found || resourceVersion === current) return;
  throw new FlatnetError(`has changed: it is at resourceVersion ${current}, not ${resourceVersion}`, {
    code: 'STORE_CONFLICT',
    operation: 'apply',
    object: titleOf(document),
    fix: 'get it again, or leave resourceVersion out to overwrite it',
  });
}

function notFound(kind: Kind, name: string): FlatnetError {
  return new FlatnetError('there is no such resource', { code: 'NOT_FOUND', object: `${kind}/${name}` });
}
