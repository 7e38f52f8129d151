import { FlatnetError } from '../../error.ts';
import type { Name } from './resource.ts';

export type Json = { readonly [key: string]: unknown };

/** An object as the API server sends it. Only what every object has is checked. */
export type KubernetesObject = Json & { readonly metadata: ObjectMeta };

export type ObjectMeta = Json & {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  /** Opaque; replaced by every change. */
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
};

/** Returns `value` as an object, or an empty one if it is none. */
export function asJson(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

/** Throws STORE_UNAVAILABLE for anything but an object with a name: a proxy answered, not an API server. */
export function asObject(value: unknown): KubernetesObject {
  const object = asJson(value);
  if (typeof asJson(object.metadata).name === 'string') return object as KubernetesObject;
  throw new FlatnetError('the answer is not an object of the Kubernetes API', { code: 'STORE_UNAVAILABLE' });
}

/** Identifies an object among those of its kind: `namespace/name`, or `name` alone. */
export function keyOf({ namespace, name }: Name): string {
  return namespace ? `${namespace}/${name}` : name;
}
