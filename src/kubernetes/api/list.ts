import { codeOf, FlatnetError } from '../../error.ts';
import type { CallOptions, KubernetesClient } from './client.ts';
import { asJson, asObject, type Json, type KubernetesObject } from './object.ts';
import type { ApiRequest } from './request.ts';
import { collectionPath, type ResourceType, type Scope, withQuery } from './resource.ts';

/** Which objects of a kind, chosen by the server. */
export type Selection = Scope & {
  /** E.g. `app=web,tier!=test`. */
  readonly labelSelector?: string | undefined;
  /** E.g. `spec.nodeName=n1`; what a kind can be selected by is fixed. */
  readonly fieldSelector?: string | undefined;
};

export type ListOptions = Selection &
  CallOptions & {
    /** Objects a page; 250 by default. Larger pages need more memory: a page of 500 pods 20 MB more. */
    readonly pageSize?: number | undefined;
  };

export type Listed<T> = {
  readonly items: readonly T[];
  /** Where a watch that misses nothing begins. */
  readonly resourceVersion: string;
};

/**
 * Lists objects as they are at one moment. They arrive in compressed pages, so that only one page is in
 * memory at a time beside what `reduce` keeps of each object; undefined leaves one out.
 */
export async function list<T>(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  reduce: (object: KubernetesObject) => T | undefined,
  { pageSize = 250, ...options }: ListOptions = {},
): Promise<Listed<T>> {
  try {
    return await listPages(client, resource, reduce, { ...options, pageSize });
  } catch (error) {
    if (codeOf(error) !== 'STORE_COMPACTED') throw error;
    // It took longer than the server keeps history. A single answer cannot expire.
    return listPages(client, resource, reduce, options);
  }
}

/**
 * Returns the version of the newest change to the cluster, at the price of one object: of those selected, as
 * the right to list may be limited to them.
 */
export async function newestVersion(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  { namespace, labelSelector, fieldSelector, signal }: Selection & CallOptions,
): Promise<string> {
  const request = pageRequest(resource, { namespace }, { labelSelector, fieldSelector, limit: 1 });
  return versionOf(await client.call(request, { signal }), resource);
}

async function listPages<T>(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  reduce: (object: KubernetesObject) => T | undefined,
  { namespace, labelSelector, fieldSelector, pageSize, signal }: ListOptions,
): Promise<Listed<T>> {
  const items: T[] = [];
  let token = '';
  for (;;) {
    const query = { labelSelector, fieldSelector, limit: pageSize, continue: token };
    const page = await client.call(pageRequest(resource, { namespace }, query), { signal });
    const resourceVersion = versionOf(page, resource);
    for (const object of itemsOf(page)) {
      const kept = reduce(asObject(object));
      if (kept !== undefined) items.push(kept);
    }
    const next = asJson(page.metadata).continue;
    if (typeof next !== 'string' || next === '') return { items, resourceVersion };
    token = next;
  }
}

function pageRequest(
  resource: ResourceType,
  at: Scope,
  query: Readonly<Record<string, string | number | undefined>>,
): ApiRequest {
  return { verb: 'list', resource, at, path: withQuery(collectionPath(resource, at), query) };
}

/** Go writes an empty list of some kinds as null. */
function itemsOf(page: Json): readonly unknown[] {
  return Array.isArray(page.items) ? page.items : [];
}

function versionOf(page: Json, { plural }: ResourceType): string {
  const { resourceVersion } = asJson(page.metadata);
  if (typeof resourceVersion === 'string' && (page.items === null || Array.isArray(page.items))) {
    return resourceVersion;
  }
  throw new FlatnetError('the answer is not a list', { code: 'STORE_UNAVAILABLE', object: plural });
}
