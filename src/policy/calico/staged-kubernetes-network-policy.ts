import { closedNetworkPolicy, readNetworkPolicy } from '../kubernetes/network-policy.ts';
import type { PolicyObject } from '../model/object.ts';
import type { Policy, PolicyId } from '../model/policy.ts';
import { closedStaged, readStaged } from './staged.ts';

export const STAGED_KUBERNETES = 'StagedKubernetesNetworkPolicy';

/**
 * Reads a staged NetworkPolicy of Kubernetes; one that only removes another needs no spec besides. Throws
 * CONFIG_INVALID naming the field.
 */
export function readStagedKubernetes(object: PolicyObject): Policy {
  const staged = readStaged(object.spec, replacedBy(object));
  if (staged.action !== 'set') return { ...closedNetworkPolicy(object), kind: STAGED_KUBERNETES, staged };
  return { ...readNetworkPolicy(object), kind: STAGED_KUBERNETES, staged };
}

/** What enforcing one that cannot be read would do: its pods are isolated. */
export function closedStagedKubernetes(object: PolicyObject): Policy {
  const staged = closedStaged(object.spec, replacedBy(object));
  return { ...closedNetworkPolicy(object), kind: STAGED_KUBERNETES, staged };
}

function replacedBy({ namespace, name }: PolicyObject): PolicyId {
  return { kind: 'NetworkPolicy', namespace, name };
}
