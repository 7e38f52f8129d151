import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { getIfAny } from '../../kubernetes/change.ts';
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
  affinityObject,
  affinityOf,
  blockObject,
  blockOf,
  CONFIG_NAME,
  configOf,
  handleObject,
  handleOf,
} from './block-object.ts';
import { BLOCK_AFFINITIES, IPAM_BLOCKS, IPAM_CONFIGS, IPAM_HANDLES } from './crds.ts';
import { cidrName, handleName } from './names.ts';

/** How many objects are asked for at once. */
const PARALLEL = 16;

/** The `blocks` plan as objects of `flatnet.dev/v1`; an object's version is its resourceVersion. */
export class KubernetesBlocks implements BlockStore {
  readonly #client: KubernetesClient;

  constructor(client: KubernetesClient) {
    this.#client = client;
  }

  async config(): Promise<IpamConfig> {
    const found = await getIfAny(this.#client, IPAM_CONFIGS, { name: CONFIG_NAME });
    return found ? stored(IPAM_CONFIGS, found, configOf).value : DEFAULT_IPAM_CONFIG;
  }

  async configure(change: Partial<IpamConfig>): Promise<IpamConfig> {
    const found = await getIfAny(this.#client, IPAM_CONFIGS, { name: CONFIG_NAME });
    const before = found ? stored(IPAM_CONFIGS, found, configOf).value : DEFAULT_IPAM_CONFIG;
    const spec = { ...before, ...change };
    if (Object.keys(change).length === 0) return spec;
    const written = found
      ? await this.#replace(IPAM_CONFIGS, { ...found, spec })
      : await this.#create(IPAM_CONFIGS, { metadata: { name: CONFIG_NAME }, spec });
    if (written) return configOf(written);
    throw new FlatnetError('it was changed concurrently', {
      code: 'STORE_CONFLICT',
      operation: 'ipam configure',
      object: `${IPAM_CONFIGS.kind}/${CONFIG_NAME}`,
      fix: 'check the settings and try again',
    });
  }

  async blocks(cidrs: readonly Cidr[]): Promise<Stored<Block>[]> {
    const found = await this.#get(IPAM_BLOCKS, cidrs.map(cidrName));
    return found.flatMap((object) => (object ? stored(IPAM_BLOCKS, object, blockOf) : []));
  }

  async allBlocks(): Promise<Stored<Block>[]> {
    const { items } = await list(this.#client, IPAM_BLOCKS, (object) => stored(IPAM_BLOCKS, object, blockOf));
    return [...items];
  }

  async createBlock(block: Block): Promise<Stored<Block> | undefined> {
    return as(block, await this.#create(IPAM_BLOCKS, blockObject(block)));
  }

  async replaceBlock(read: Stored<Block>, next: Block): Promise<Stored<Block> | undefined> {
    return as(next, await this.#replace(IPAM_BLOCKS, blockObject(next), read.version));
  }

  deleteBlock(read: Stored<Block>): Promise<boolean> {
    return this.#delete(IPAM_BLOCKS, cidrName(read.value.cidr), read.version);
  }

  /** Those created within the same second are in the order of their names. */
  async affinities(node?: string): Promise<Stored<Affinity>[]> {
    const fieldSelector = node === undefined ? undefined : `spec.node=${node}`;
    const { items } = await list(this.#client, BLOCK_AFFINITIES, readableAffinity, { fieldSelector });
    return items
      .toSorted((a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : 0))
      .map(({ affinity }) => affinity);
  }

  async announce(node: string, cidr: Cidr): Promise<Stored<Affinity>> {
    const pending = { node, cidr, state: 'pending' } as const;
    const object = affinityObject(pending);
    const created = as(pending, await this.#create(BLOCK_AFFINITIES, object));
    if (created) return created;
    const found = await getIfAny(this.#client, BLOCK_AFFINITIES, object.metadata);
    // It may have been deleted just now.
    return found ? stored(BLOCK_AFFINITIES, found, affinityOf) : this.announce(node, cidr);
  }

  async setAffinity(read: Stored<Affinity>, state: AffinityState): Promise<Stored<Affinity> | undefined> {
    const next = { ...read.value, state };
    return as(next, await this.#replace(BLOCK_AFFINITIES, affinityObject(next), read.version));
  }

  deleteAffinity({ value, version }: Stored<Affinity>): Promise<boolean> {
    return this.#delete(BLOCK_AFFINITIES, affinityObject(value).metadata.name, version);
  }

  async handles(ids: readonly string[]): Promise<(Stored<Handle> | undefined)[]> {
    const found = await this.#get(IPAM_HANDLES, ids.map(handleName));
    return found.map((object) => object && stored(IPAM_HANDLES, object, (each) => handleOf(each).handle));
  }

  async writeHandle(
    id: string,
    read: Stored<Handle> | undefined,
    next: Handle,
  ): Promise<Stored<Handle> | undefined> {
    const object = handleObject(id, next);
    const written = read
      ? await this.#replace(IPAM_HANDLES, object, read.version)
      : await this.#create(IPAM_HANDLES, object);
    return as(next, written);
  }

  deleteHandle(id: string, read: Stored<Handle>): Promise<boolean> {
    return this.#delete(IPAM_HANDLES, handleName(id), read.version);
  }

  /** The kinds are listed one after another, so it is not of a single moment. */
  async snapshot(): Promise<Snapshot> {
    const unreadable: { object: string; problem: string }[] = [];
    const all = async <T>(resource: ResourceType, read: (object: KubernetesObject) => T): Promise<T[]> => {
      const { items } = await list(this.#client, resource, (object) => {
        try {
          return read(object);
        } catch (error) {
          unreadable.push({ object: titleOf(resource, object), problem: messageOf(error) });
          return undefined;
        }
      });
      return [...items];
    };
    const configs = await all(IPAM_CONFIGS, configOf);
    const affinities = await all(BLOCK_AFFINITIES, (object) => versioned(object, affinityOf(object)));
    const blocks = await all(IPAM_BLOCKS, (object) => versioned(object, blockOf(object)));
    const handles = await all(IPAM_HANDLES, (object) => {
      const { id, handle } = handleOf(object);
      return [id, versioned(object, handle)] as const;
    });
    return {
      config: configs[0] ?? DEFAULT_IPAM_CONFIG,
      blocks,
      affinities,
      handles: new Map(handles),
      unreadable,
    };
  }

  /** Undefined if there is one of that name. */
  async #create(resource: ResourceType, object: KubernetesObject): Promise<KubernetesObject | undefined> {
    return unlessOther(this.#client.create(resource, object));
  }

  /** Undefined if it has changed since `version` or since it was read, or is gone. */
  async #replace(
    resource: ResourceType,
    object: KubernetesObject,
    version?: Version,
  ): Promise<KubernetesObject | undefined> {
    const metadata = { ...object.metadata, ...(version !== undefined && { resourceVersion: version }) };
    return unlessOther(this.#client.replace(resource, { ...object, metadata }));
  }

  async #delete(resource: ResourceType, name: string, resourceVersion: Version): Promise<boolean> {
    const deleted = this.#client.delete(resource, { name }, { resourceVersion }).then(() => true);
    return (await unlessOther(deleted)) ?? false;
  }

  async #get(resource: ResourceType, names: readonly string[]): Promise<(KubernetesObject | undefined)[]> {
    const found: (KubernetesObject | undefined)[] = [];
    for (let at = 0; at < names.length; at += PARALLEL) {
      const some = names.slice(at, at + PARALLEL);
      found.push(...(await Promise.all(some.map((name) => getIfAny(this.#client, resource, { name })))));
    }
    return found;
  }
}

/** Whoever writes to an object that is gone, has changed or exists already has lost a race. */
const LOST = ['NOT_FOUND', 'STORE_CONFLICT', 'STORE_EXISTS'];

async function unlessOther<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (LOST.includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

function as<T>(value: T, written: KubernetesObject | undefined): Stored<T> | undefined {
  return written && versioned(written, value);
}

function versioned<T>({ metadata }: KubernetesObject, value: T): Stored<T> {
  return { value, version: `${metadata.resourceVersion}` as Version };
}

/** Throws CONFIG_INVALID naming the object. */
function stored<T>(
  resource: ResourceType,
  object: KubernetesObject,
  read: (object: KubernetesObject) => T,
): Stored<T> {
  try {
    return versioned(object, read(object));
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), {
      code: 'CONFIG_INVALID',
      operation: 'read',
      object: titleOf(resource, object),
      fix: 'see flatnet ipam check',
      cause,
    });
  }
}

/** Unreadable ones are left out: `snapshot` reports them. */
function readableAffinity(
  object: KubernetesObject,
): { readonly affinity: Stored<Affinity>; readonly created: string } | undefined {
  try {
    const created = `${object.metadata.creationTimestamp}`;
    return { affinity: versioned(object, affinityOf(object)), created };
  } catch {
    return undefined;
  }
}

function titleOf({ kind }: ResourceType, { metadata }: KubernetesObject): string {
  return `${kind}/${metadata.name}`;
}
