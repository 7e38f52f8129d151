import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { statusError } from './api-error.ts';
import type { KubernetesClient } from './client.ts';
import type { Selection } from './list.ts';
import type { ApiRequest } from './request.ts';
import { collectionPath, type ResourceType, withQuery } from './resource.ts';
import { WatchDecoder, type WatchEvent } from './watch-decoder.ts';

export type WatchOptions = Selection & {
  /** The watch delivers what happened after it. */
  readonly resourceVersion: string;
  /** Milliseconds of silence after which the watch is given up. The server sends a bookmark every minute. */
  readonly idle: number;
  /** Seconds after which the server is to end the watch, so that clients spread over the servers again. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** Called when the server has accepted the watch. */
  readonly opened?: () => void;
};

/**
 * Yields events in the order in which the server sends them. Returns when the server ends the watch, as it
 * regularly does, or `signal` aborts. Throws STORE_COMPACTED if history no longer reaches back that far,
 * TIMEOUT after too long a silence, STORE_UNAVAILABLE when the connection breaks.
 */
export async function* watch(
  client: KubernetesClient,
  resource: ResourceType,
  options: WatchOptions,
): AsyncGenerator<Exclude<WatchEvent, { type: 'ERROR' }>> {
  const { namespace, labelSelector, fieldSelector, resourceVersion, idle, seconds, signal } = options;
  const at = { namespace };
  const query = {
    watch: 'true',
    allowWatchBookmarks: 'true',
    labelSelector,
    fieldSelector,
    resourceVersion,
    timeoutSeconds: seconds,
  };
  const path = withQuery(collectionPath(resource, at), query);
  const request: ApiRequest = { verb: 'watch', resource, at, path };
  if (signal.aborted) return;
  const response = await client.stream(request, { signal });
  options.opened?.();
  const stop = (): void => void response.destroy();
  signal.addEventListener('abort', stop, { once: true });
  const decoder = new WatchDecoder();
  try {
    for await (const chunk of withinIdle<Uint8Array>(response, idle, resource)) {
      for (const event of decoder.push(chunk)) {
        if (event.type === 'ERROR') throw statusError(request, event.status);
        yield event;
        if (signal.aborted) return;
      }
    }
    if (decoder.isTorn) throw new Error('the server ended the watch within an event');
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof FlatnetError ? error : broken(resource, error);
  } finally {
    signal.removeEventListener('abort', stop);
    response.destroy();
  }
}

/** Passes chunks on, and throws TIMEOUT if none comes for a while; what the consumer takes does not count. */
async function* withinIdle<T>(
  response: AsyncIterable<T> & { destroy(error: Error): unknown },
  idle: number,
  resource: ResourceType,
): AsyncGenerator<T> {
  const iterator = response[Symbol.asyncIterator]();
  for (;;) {
    const silence = new FlatnetError(`nothing came for ${idle} ms`, {
      code: 'TIMEOUT',
      operation: 'watch',
      object: resource.plural,
    });
    const timer = setTimeout(() => response.destroy(silence), idle);
    const { done, value } = await iterator.next().finally(() => clearTimeout(timer));
    if (done) return;
    yield value;
  }
}

function broken(resource: ResourceType, cause: unknown): FlatnetError {
  const errno = codeOf(cause);
  return new FlatnetError(messageOf(cause), {
    code: 'STORE_UNAVAILABLE',
    operation: 'watch',
    object: resource.plural,
    ...(errno !== undefined && { errno }),
    cause,
  });
}
