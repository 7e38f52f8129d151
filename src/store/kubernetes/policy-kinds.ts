import type { ResourceType } from '../../kubernetes/api/resource.ts';

const of = (
  group: string,
  version: string,
  plural: string,
  kind: string,
  namespaced: boolean,
): ResourceType => ({
  group,
  version,
  plural,
  kind,
  namespaced,
});

export const NETWORK_POLICIES = of('networking.k8s.io', 'v1', 'networkpolicies', 'NetworkPolicy', true);
export const PODS = of('', 'v1', 'pods', 'Pod', true);
export const NAMESPACES = of('', 'v1', 'namespaces', 'Namespace', false);
/** Of a cluster that has them; the versions have one shape. */
export const CLUSTER_NETWORK_POLICIES = ['v1alpha2', 'v1beta1'].map((version) =>
  of('policy.networking.k8s.io', version, 'clusternetworkpolicies', 'ClusterNetworkPolicy', false),
);
