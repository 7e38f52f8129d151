import { codeOf, FlatnetError } from '../../error.ts';
import type { CallOptions, KubernetesClient } from './client.ts';
import { asJson } from './object.ts';
import { apiVersionOf, type ResourceType } from './resource.ts';

/**
 * The plural names of all that the server has in a resource's version of its group, be it ours to read or
 * not: a server refuses what is forbidden whether it exists or not, but tells everybody what it serves.
 * Empty only if the server says that it knows no such version. Throws STORE_UNAVAILABLE for an answer that
 * lists nothing: no API server gives it.
 */
export async function servedKinds(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  options: CallOptions = {},
): Promise<ReadonlySet<string>> {
  const path = `/apis/${apiVersionOf(resource)}`;
  return new Set(await namesAt(client, { resource, path, list: 'resources', name: 'name' }, options));
}

/**
 * The versions of an API group that the server has, the preferred one first; empty if it has no such group.
 * Throws STORE_UNAVAILABLE as `servedKinds` does.
 */
export async function servedVersions(
  client: Pick<KubernetesClient, 'call'>,
  group: string,
  options: CallOptions = {},
): Promise<readonly string[]> {
  const resource: ResourceType = { group, version: '', plural: '', kind: 'APIGroup', namespaced: false };
  return namesAt(client, { resource, path: `/apis/${group}`, list: 'versions', name: 'version' }, options);
}

/** Whether the server has a kind, be it ours to read or not. */
export async function isServed(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  options: CallOptions = {},
): Promise<boolean> {
  return (await servedKinds(client, resource, options)).has(resource.plural);
}

type Place = {
  readonly resource: ResourceType;
  readonly path: string;
  /** The list in the answer, and what names its elements. */
  readonly list: string;
  readonly name: string;
};

async function namesAt(
  client: Pick<KubernetesClient, 'call'>,
  { resource, path, list, name }: Place,
  options: CallOptions,
): Promise<readonly string[]> {
  const answer = await client.call({ verb: 'get', resource, at: {}, path }, options).catch((error) => {
    if (codeOf(error) === 'KIND_UNKNOWN') return undefined;
    throw error;
  });
  if (!answer) return [];
  const all: readonly unknown[] = Array.isArray(answer[list]) ? answer[list] : [];
  const names = all.map((each) => asJson(each)[name]).filter((each) => typeof each === 'string');
  if (names.length > 0) return names;
  throw new FlatnetError('the answer does not say what is served', {
    code: 'STORE_UNAVAILABLE',
    object: path,
  });
}
