import type { ResourceType } from '../../kubernetes/api/resource.ts';

/** Where kinds are served. */
type Version = Pick<ResourceType, 'group' | 'version'>;

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

/** Where Calico keeps its objects, in a cluster that has them. */
const CALICO: Version = { group: 'crd.projectcalico.org', version: 'v1' };

/** Calico's kinds of policies, and Tiers. */
export const CALICO_POLICY_KINDS = [
  of(CALICO, 'networkpolicies', 'NetworkPolicy', true),
  of(CALICO, 'globalnetworkpolicies', 'GlobalNetworkPolicy', false),
  of(CALICO, 'stagednetworkpolicies', 'StagedNetworkPolicy', true),
  of(CALICO, 'stagedglobalnetworkpolicies', 'StagedGlobalNetworkPolicy', false),
  of(CALICO, 'stagedkubernetesnetworkpolicies', 'StagedKubernetesNetworkPolicy', true),
  of(CALICO, 'tiers', 'Tier', false),
];

export const CALICO_SET_KINDS = [
  of(CALICO, 'networksets', 'NetworkSet', true),
  of(CALICO, 'globalnetworksets', 'GlobalNetworkSet', false),
];
