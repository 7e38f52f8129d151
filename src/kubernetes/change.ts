import { Backoff } from '../async/backoff.ts';
import { pause } from '../async/pause.ts';
import { codeOf, FlatnetError } from '../error.ts';
import type { CallOptions, KubernetesClient } from './api/client.ts';
import { type KubernetesObject, keyOf } from './api/object.ts';
import type { Name, ResourceType } from './api/resource.ts';

/** How often a change is recomputed because another client was faster. */
const ATTEMPTS = 10;

/**
 * Compare-and-swap: reads an object, has `next` compute what it should be, and writes that unless the object
 * has changed meanwhile, in which case all is done again. `next` gets undefined if there is no object, and
 * returns undefined to leave things as they are. Returns the object as stored.
 *
 * Throws STORE_CONFLICT if others keep being faster.
 */
export async function change(
  client: KubernetesClient,
  resource: ResourceType,
  at: Name,
  next: (current: KubernetesObject | undefined) => KubernetesObject | undefined,
  options: CallOptions = {},
): Promise<KubernetesObject | undefined> {
  const backoff = new Backoff({ first: 20, longest: 1000, jitter: 1 });
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const current = await getIfAny(client, resource, at, options);
    const wanted = next(current);
    if (wanted === undefined) return current;
    try {
      return await write(client, resource, current, wanted, options);
    } catch (error) {
      const code = codeOf(error);
      // Changed, created or deleted by another.
      if (code !== 'STORE_CONFLICT' && code !== 'STORE_EXISTS' && !(current && code === 'NOT_FOUND'))
        throw error;
    }
    await pause(backoff.next(), options.signal);
    options.signal?.throwIfAborted();
  }
  throw new FlatnetError(`changed by others ${ATTEMPTS} times in a row`, {
    code: 'STORE_CONFLICT',
    operation: 'change',
    object: `${resource.plural} ${keyOf(at)}`,
  });
}

/** Returns undefined instead of throwing NOT_FOUND. */
export async function getIfAny(
  client: KubernetesClient,
  resource: ResourceType,
  at: Name,
  options: CallOptions = {},
): Promise<KubernetesObject | undefined> {
  try {
    return await client.get(resource, at, options);
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** Creates the object, or replaces the version that was read. */
function write(
  client: KubernetesClient,
  resource: ResourceType,
  current: KubernetesObject | undefined,
  wanted: KubernetesObject,
  options: CallOptions,
): Promise<KubernetesObject> {
  if (current === undefined) return client.create(resource, wanted, options);
  const { uid, resourceVersion } = current.metadata;
  const metadata = { ...wanted.metadata, ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
  return client.replace(resource, { ...wanted, metadata }, options);
}
