import type { ResourceType } from '../../kubernetes/api/resource.ts';

/** Where kinds are served. */
export type Version = Pick<ResourceType, 'group' | 'version'>;

const of = (
  { group, version }: Version,
  plural: string,
  kind: string,
  namespaced: boolean,
): ResourceType => ({ group, version, plural, kind, namespaced });

const CORE: Version = { group: '', version: 'v1' };

export const NETWORK_POLICIES = of(
  { group: 'networking.k8s.io', version: 'v1' },
  'networkpolicies',
  'NetworkPolicy',
  true,
);
export const PODS = of(CORE, 'pods', 'Pod', true);
export const NAMESPACES = of(CORE, 'namespaces', 'Namespace', false);
export const SERVICE_ACCOUNTS = of(CORE, 'serviceaccounts', 'ServiceAccount', true);

/** Of a cluster that has them; the versions have one shape. */
export const CLUSTER_NETWORK_POLICIES = ['v1alpha2', 'v1beta1'].map((version) =>
  of({ group: 'policy.networking.k8s.io', version }, 'clusternetworkpolicies', 'ClusterNetworkPolicy', false),
);

/** Where Calico keeps its objects: behind its API server, or in definitions of that very API. */
export const CALICO_V1: Version = { group: 'crd.projectcalico.org', version: 'v1' };
export const CALICO_V3: Version = { group: 'projectcalico.org', version: 'v3' };

/** Calico's kinds of policies, and Tiers. */
export const calicoPolicyKinds = (version: Version): readonly ResourceType[] => [
  of(version, 'networkpolicies', 'NetworkPolicy', true),
  of(version, 'globalnetworkpolicies', 'GlobalNetworkPolicy', false),
  of(version, 'stagednetworkpolicies', 'StagedNetworkPolicy', true),
  of(version, 'stagedglobalnetworkpolicies', 'StagedGlobalNetworkPolicy', false),
  of(version, 'stagedkubernetesnetworkpolicies', 'StagedKubernetesNetworkPolicy', true),
  of(version, 'tiers', 'Tier', false),
];

export const calicoSetKinds = (version: Version): readonly ResourceType[] => [
  of(version, 'networksets', 'NetworkSet', true),
  of(version, 'globalnetworksets', 'GlobalNetworkSet', false),
];
