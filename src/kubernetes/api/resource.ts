import { FlatnetError } from '../../error.ts';

/** A kind of object, as the API names it. */
export type ResourceType = {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** As in paths and in RBAC rules, e.g. `nodes`. */
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
};

/** Which objects of a kind: in one namespace, or (absent) in all. */
export type Scope = { readonly namespace?: string | undefined };

/** One object of a kind. */
export type Name = Scope & { readonly name: string };

/** `v1` or `coordination.k8s.io/v1`. */
export function apiVersionOf({ group, version }: Pick<ResourceType, 'group' | 'version'>): string {
  return group ? `${group}/${version}` : version;
}

/** The path of a kind's objects, without the server's own: `/api/v1/nodes`. */
export function collectionPath(resource: ResourceType, { namespace }: Scope = {}): string {
  const { group, version, plural, namespaced } = resource;
  const root = group ? `/apis/${group}/${version}` : `/api/${version}`;
  return namespaced && namespace !== undefined
    ? `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`
    : `${root}/${plural}`;
}

/** The path of one object or of its subresource, e.g. `status`. */
export function objectPath(resource: ResourceType, { name, namespace }: Name, subresource?: string): string {
  if (resource.namespaced !== (namespace !== undefined) || !name) {
    throw new FlatnetError(resource.namespaced ? 'needs a name and a namespace' : 'needs a name alone', {
      code: 'INTERNAL',
      object: resource.plural,
    });
  }
  const path = `${collectionPath(resource, { namespace })}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** `/path?a=b`, leaving out undefined and empty values. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const text = new URLSearchParams(pairs.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}
