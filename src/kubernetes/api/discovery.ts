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
  try {
    const { resources } = await client.call({ verb: 'get', resource, at: {}, path }, options);
    const all: readonly unknown[] = Array.isArray(resources) ? resources : [];
    const names = all.map((each) => asJson(each).name).filter((name) => typeof name === 'string');
    if (names.length > 0) return new Set(names);
    throw new FlatnetError('the answer does not say what is served', {
      code: 'STORE_UNAVAILABLE',
      object: path,
    });
  } catch (error) {
    if (codeOf(error) === 'KIND_UNKNOWN') return new Set();
    throw error;
  }
}

/** Whether the server has a kind, be it ours to read or not. */
export async function isServed(
  client: Pick<KubernetesClient, 'call'>,
  resource: ResourceType,
  options: CallOptions = {},
): Promise<boolean> {
  return (await servedKinds(client, resource, options)).has(resource.plural);
}
