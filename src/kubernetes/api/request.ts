import { keyOf } from './object.ts';
import type { Name, ResourceType, Scope } from './resource.ts';

/** The verbs as RBAC knows them. */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

const METHODS = {
  get: 'GET',
  list: 'GET',
  watch: 'GET',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
} as const;

/** One request to the API server. */
export type ApiRequest = {
  readonly verb: Verb;
  readonly resource: ResourceType;
  /** The object, or the collection. */
  readonly at: Name | Scope;
  readonly subresource?: string | undefined;
  /** With query, below the server's own path. */
  readonly path: string;
  readonly body?: { readonly type: string; readonly text: string };
};

export function methodOf({ verb }: ApiRequest): (typeof METHODS)[Verb] {
  return METHODS[verb];
}

/** Whether the request is idempotent: sending it twice does no more than sending it once. */
export function isSafe(request: ApiRequest): boolean {
  return methodOf(request) === 'GET';
}

/** `nodes/status`, as in an RBAC rule. */
export function resourceName({ resource, subresource }: ApiRequest): string {
  return subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`;
}

/** How errors name the object: `leases kube-system/flatnet`. */
export function objectText(request: ApiRequest): string {
  const { at } = request;
  const key = 'name' in at ? keyOf(at) : at.namespace && `in ${at.namespace}`;
  return key ? `${resourceName(request)} ${key}` : resourceName(request);
}

/** The body of a JSON request. */
export function jsonBody(value: unknown, type = 'application/json'): NonNullable<ApiRequest['body']> {
  return { type, text: JSON.stringify(value) };
}
