import type http from 'node:http';
import { pause } from '../../async/pause.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import type { Access } from '../access/access.ts';
import { ApiError } from './api-error.ts';
import { Connections } from './connections.ts';
import { exchange, openStream, TransitError, type Wire } from './exchange.ts';
import { asJson, asObject, type Json, type KubernetesObject } from './object.ts';
import { type ApiRequest, jsonBody, objectText } from './request.ts';
import {
  apiVersionOf,
  collectionPath,
  type Name,
  objectPath,
  type ResourceType,
  withQuery,
} from './resource.ts';
import { waitAfter } from './retry.ts';

export type ClientOptions = {
  readonly access: Access;
  /** Names the program in the server's logs. */
  readonly userAgent?: string;
  /** Milliseconds without a byte after which an answer is given up; 30 000 by default. */
  readonly silence?: number;
  /** How often a request is sent before it fails; 5 by default. */
  readonly attempts?: number;
  readonly random?: () => number;
};

export type CallOptions = { readonly signal?: AbortSignal | undefined };

export type WriteOptions = CallOptions & {
  /** E.g. `status`: nothing else of the object is changed. */
  readonly subresource?: string;
};

/** `merge`: RFC 7386. `strategic`: lists of built-in kinds are merged by their keys; CRDs have none. */
export type PatchType = 'merge' | 'strategic';

/**
 * A client of the Kubernetes API, one method per verb. Each throws STORE_UNAVAILABLE while the server does
 * not answer (a write may nevertheless have happened), and the codes of `apiError`.
 */
export class KubernetesClient {
  readonly #wire: Wire;
  readonly #attempts: number;
  readonly #random: () => number;

  constructor({ access, userAgent, silence, attempts, random }: ClientOptions) {
    const connections = new Connections(access.server);
    this.#wire = { access, connections, userAgent: userAgent ?? 'flatnet', silence: silence ?? 30_000 };
    this.#attempts = attempts ?? 5;
    this.#random = random ?? Math.random;
  }

  /** The namespace that the credentials belong to. */
  get namespace(): string {
    return this.#wire.access.namespace;
  }

  async get(resource: ResourceType, at: Name, options: CallOptions = {}): Promise<KubernetesObject> {
    const path = objectPath(resource, at);
    return asObject(await this.call({ verb: 'get', resource, at, path }, options));
  }

  /** With an empty name and a generateName, the server names it. Throws STORE_EXISTS. */
  async create(
    resource: ResourceType,
    object: KubernetesObject,
    options: CallOptions = {},
  ): Promise<KubernetesObject> {
    const { name, namespace } = object.metadata;
    const at = name ? { name, namespace } : { namespace };
    const path = collectionPath(resource, at);
    const body = jsonBody(typed(resource, object));
    return asObject(await this.call({ verb: 'create', resource, at, path, body }, options));
  }

  /** Replaces the version that `object` carries. Throws STORE_CONFLICT if there is a newer one. */
  async replace(
    resource: ResourceType,
    object: KubernetesObject,
    { subresource, ...options }: WriteOptions = {},
  ): Promise<KubernetesObject> {
    const at = object.metadata;
    const path = objectPath(resource, at, subresource);
    const body = jsonBody(typed(resource, object));
    return asObject(await this.call({ verb: 'update', resource, at, subresource, path, body }, options));
  }

  /** Changes what `patch` says of an existing object. With a resourceVersion in it, throws STORE_CONFLICT. */
  async patch(
    resource: ResourceType,
    at: Name,
    type: PatchType,
    patch: Json,
    { subresource, ...options }: WriteOptions = {},
  ): Promise<KubernetesObject> {
    const path = objectPath(resource, at, subresource);
    const body = jsonBody(patch, `application/${type === 'merge' ? '' : 'strategic-'}merge-patch+json`);
    return asObject(await this.call({ verb: 'patch', resource, at, subresource, path, body }, options));
  }

  /**
   * Server-side apply: afterwards the object has these fields, and `fieldManager` owns them; what it owned
   * before and no longer names is removed. Creates the object if there is none. Throws STORE_CONFLICT if
   * another manager owns one of the fields, unless `force`.
   */
  async apply(
    resource: ResourceType,
    object: KubernetesObject,
    { fieldManager, force, subresource, ...options }: WriteOptions & ApplyOptions,
  ): Promise<KubernetesObject> {
    const at = object.metadata;
    const query = { fieldManager, force: force ? 'true' : undefined };
    const path = withQuery(objectPath(resource, at, subresource), query);
    const body = jsonBody(typed(resource, object), 'application/apply-patch+yaml');
    return asObject(await this.call({ verb: 'patch', resource, at, subresource, path, body }, options));
  }

  /**
   * Throws NOT_FOUND. With `uid` or `resourceVersion`, throws STORE_CONFLICT if the object is another by now.
   */
  async delete(
    resource: ResourceType,
    at: Name,
    { uid, resourceVersion, ...options }: CallOptions & Preconditions = {},
  ): Promise<void> {
    const preconditions = { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
    const body = jsonBody({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions });
    await this.call({ verb: 'delete', resource, at, path: objectPath(resource, at), body }, options);
  }

  /** Sends a request, again if need be, and returns the answer's JSON. */
  async call(request: ApiRequest, { signal }: CallOptions = {}): Promise<Json> {
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      try {
        return parseAnswer(await exchange(this.#wire, request, signal));
      } catch (error) {
        signal?.throwIfAborted();
        const wait = attempt < this.#attempts ? waitAfter(error, request, attempt, this.#random) : undefined;
        if (wait === undefined) throw this.#failure(error, request);
        await pause(wait, signal);
      }
    }
  }

  /** Sends a request once and returns the stream of its answer, which the caller must destroy. */
  async stream(request: ApiRequest, { signal }: CallOptions = {}): Promise<http.IncomingMessage> {
    try {
      return await openStream(this.#wire, request, signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#failure(error, request);
    }
  }

  /** Closes all connections; what is under way fails. */
  close(): void {
    this.#wire.connections.close();
  }

  #failure(error: unknown, request: ApiRequest): unknown {
    if (error instanceof ApiError || !(error instanceof TransitError)) return error;
    const errno = codeOf(error.cause);
    return new FlatnetError(error.message, {
      code: 'STORE_UNAVAILABLE',
      operation: request.verb,
      object: `${objectText(request)} at ${this.#wire.access.server}`,
      ...(errno !== undefined && { errno }),
      cause: error.cause,
    });
  }
}

type ApplyOptions = {
  /** Who owns the fields, e.g. `flatnet`. */
  readonly fieldManager: string;
  /** Takes fields over from other managers. */
  readonly force?: boolean;
};

type Preconditions = { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined };

/** Writes need the kind, which objects of a list lack. */
function typed(resource: ResourceType, object: KubernetesObject): Json {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

function parseAnswer(text: string): Json {
  try {
    return asJson(JSON.parse(text));
  } catch (cause) {
    throw new FlatnetError('the answer is not JSON', { code: 'STORE_UNAVAILABLE', cause });
  }
}
