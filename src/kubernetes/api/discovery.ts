import { codeOf } from '../../error.ts';
import type { CallOptions, KubernetesClient } from './client.ts';
import { asJson } from './object.ts';
import { apiVersionOf, type ResourceType } from './resource.ts';

/**
 * Whether the server has a kind, be it ours to read or not: a server refuses what is forbidden whether it
 * exists or not, but tells everybody what it serves.
 */
export async function isServed(
  client: KubernetesClient,
  resource: ResourceType,
  options: CallOptions = {},
): Promise<boolean> {
  const path = `/apis/${apiVersionOf(resource)}`;
  try {
    const { resources } = await client.call({ verb: 'get', resource, at: {}, path }, options);
    return Array.isArray(resources) && resources.some((each) => asJson(each).name === resource.plural);
  } catch (error) {
    if (codeOf(error) === 'KIND_UNKNOWN') return false;
    throw error;
  }
}
