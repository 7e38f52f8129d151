import type { Labels } from '../../cluster/selector.ts';
import type { NetworkSetEntity, PodEntity } from '../model/entity.ts';

/** What Calico's selectors are about, besides host endpoints. */
export type Endpoint = PodEntity | NetworkSetEntity;

/** The labels that Calico's selectors see of an endpoint. */
export type Seen = {
  /**
   * Its own, those that Calico gives it, and its namespace's and service account's, prefixed by `pcns.` and
   * `pcsa.`. What is of a namespace has none of these by labels of its own, or it would pass for another's.
   */
  readonly own: Labels;
  /** Its namespace's, with the name; none for a GlobalNetworkSet. */
  readonly namespace: Labels;
  /** Its service account's, with the name; none for a network set. */
  readonly serviceAccount: Labels;
};

const NAMESPACE = 'projectcalico.org/namespace';
const SERVICE_ACCOUNT = 'projectcalico.org/serviceaccount';
const ORCHESTRATOR = 'projectcalico.org/orchestrator';
/** Of a namespace or a service account, among its labels. */
export const NAME = 'projectcalico.org/name';

const remembered = new WeakMap<Endpoint, Seen>();

export function seenOf(endpoint: Endpoint): Seen {
  const known = remembered.get(endpoint);
  if (known) return known;
  const namespace =
    endpoint.namespace === undefined ? {} : { ...endpoint.namespaceLabels, [NAME]: endpoint.namespace };
  const serviceAccount =
    endpoint.kind === 'pod' ? { ...endpoint.serviceAccountLabels, [NAME]: endpoint.serviceAccount } : {};
  const own = {
    ...(endpoint.namespace === undefined ? endpoint.labels : withoutClaims(endpoint.labels)),
    ...prefixed('pcns.', namespace),
    ...prefixed('pcsa.', serviceAccount),
    ...(endpoint.namespace !== undefined && { [NAMESPACE]: endpoint.namespace }),
    ...(endpoint.kind === 'pod' && { [ORCHESTRATOR]: 'k8s', [SERVICE_ACCOUNT]: endpoint.serviceAccount }),
  };
  const seen = { own, namespace, serviceAccount };
  remembered.set(endpoint, seen);
  return seen;
}

function withoutClaims(labels: Labels): Labels {
  const isClaim = (key: string): boolean =>
    ['pcns.', 'pcsa.'].some((prefix) => key.startsWith(prefix)) ||
    [NAMESPACE, SERVICE_ACCOUNT, ORCHESTRATOR].includes(key);
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !isClaim(key)));
}

function prefixed(prefix: string, labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [prefix + key, value]));
}
