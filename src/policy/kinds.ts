import { API_VERSION, CRD_VERSION } from '../cluster/calico/document.ts';
import {
  CALICO_NETWORK_POLICY,
  CALICO_POLICIES,
  type CalicoPolicyKind,
  closedCalicoPolicy,
  readCalicoPolicy,
} from './calico/network-policy.ts';
import {
  closedStagedKubernetes,
  readStagedKubernetes,
  STAGED_KUBERNETES,
} from './calico/staged-kubernetes-network-policy.ts';
import {
  CLUSTER_TIERS,
  closedClusterNetworkPolicy,
  readClusterNetworkPolicy,
} from './kubernetes/cluster-network-policy.ts';
import { closedNetworkPolicy, DEFAULT_TIER, readNetworkPolicy } from './kubernetes/network-policy.ts';
import type { PolicyObject } from './model/object.ts';
import type { Policy, TierSettings } from './model/policy.ts';

/** A policy, and the name of its tier. */
export type Placed = { readonly tier: string; readonly policy: Policy };

/** How objects of a kind are written. */
export type Spelling = {
  /** Each `apiVersion` that it may have. */
  readonly versions: readonly string[];
  /** Its `kind`, if that is not its name here. */
  readonly word?: string;
  readonly isNamespaced: boolean;
};

export type Kind = Spelling & {
  /** Throws CONFIG_INVALID naming the field. */
  readonly read: (object: PolicyObject) => Placed;
  /** What is in force of one that cannot be read: it closes its pods. */
  readonly close: (object: PolicyObject) => Placed;
};

/** Calico's API, and where it stores the same. */
export const CALICO_VERSIONS: readonly string[] = [API_VERSION, CRD_VERSION];

/** Every kind of policy, by its name here: the one list of what is read as a policy. */
export const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ['NetworkPolicy', inDefaultTier(['networking.k8s.io/v1'], readNetworkPolicy, closedNetworkPolicy)],
  [
    'ClusterNetworkPolicy',
    {
      versions: ['policy.networking.k8s.io/v1alpha2', 'policy.networking.k8s.io/v1beta1'],
      isNamespaced: false,
      read: (object) => inClusterTier(readClusterNetworkPolicy(object)),
      close: (object) => inClusterTier(closedClusterNetworkPolicy(object)),
    },
  ],
  ...(Object.keys(CALICO_POLICIES) as CalicoPolicyKind[]).map((kind): [string, Kind] => [
    kind,
    {
      versions: CALICO_VERSIONS,
      ...(kind === CALICO_NETWORK_POLICY && { word: 'NetworkPolicy' }),
      isNamespaced: CALICO_POLICIES[kind].isNamespaced,
      read: (object) => readCalicoPolicy(kind, object),
      close: (object) => closedCalicoPolicy(kind, object),
    },
  ]),
  [STAGED_KUBERNETES, inDefaultTier(CALICO_VERSIONS, readStagedKubernetes, closedStagedKubernetes)],
]);

/** The tiers that are always there. */
export const BUILT_IN_TIERS: readonly TierSettings[] = [
  CLUSTER_TIERS.Admin,
  DEFAULT_TIER,
  CLUSTER_TIERS.Baseline,
];

/** Which of some kinds an object is of. The group decides, as Calico names a kind as Kubernetes does. */
export function kindNamed(
  word: string,
  apiVersion: string,
  kinds: Iterable<readonly [string, Spelling]> = KINDS,
): string | undefined {
  for (const [name, spelling] of kinds)
    if ((spelling.word ?? name) === word && spelling.versions.includes(apiVersion)) return name;
  return undefined;
}

function inDefaultTier(
  versions: readonly string[],
  read: (object: PolicyObject) => Policy,
  close: (object: PolicyObject) => Policy,
): Kind {
  return {
    versions,
    isNamespaced: true,
    read: (object) => ({ tier: DEFAULT_TIER.name, policy: read(object) }),
    close: (object) => ({ tier: DEFAULT_TIER.name, policy: close(object) }),
  };
}

function inClusterTier({ tier, policy }: ReturnType<typeof readClusterNetworkPolicy>): Placed {
  return { tier: CLUSTER_TIERS[tier].name, policy };
}
