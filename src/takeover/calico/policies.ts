import { messageOf } from '../../error.ts';
import { CALICO_NETWORK_POLICY, CALICO_POLICIES } from '../../policy/calico/network-policy.ts';
import { readNetworkSet } from '../../policy/calico/network-set.ts';
import { STAGED_KUBERNETES } from '../../policy/calico/staged-kubernetes-network-policy.ts';
import { collectPolicies, TIER, type Written } from '../../policy/collect.ts';
import { policyText } from '../../policy/model/policy.ts';
import type { Plan } from '../plan.ts';
import type { CalicoObject } from './object.ts';

/** What Calico enforces and flatnet does not read: without it, pods are open that were not. */
const LACKING: readonly string[] = ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'HostEndpoint'];
const SETS: readonly string[] = ['NetworkSet', 'GlobalNetworkSet'];
const READ: readonly string[] = [
  ...Object.keys(CALICO_POLICIES),
  'NetworkPolicy',
  'ClusterNetworkPolicy',
  STAGED_KUBERNETES,
  TIER,
];

export function isOfPolicies({ kind }: CalicoObject): boolean {
  return [...LACKING, ...SETS, ...READ].includes(kind);
}

/** Says what becomes of policies, Tiers and network sets, which agents read where they are. */
export function policyPlan(objects: readonly CalicoObject[]): Plan {
  const read = objects.filter(({ kind }) => READ.includes(kind));
  const { problems } = collectPolicies(read.map(writtenOf));
  const wrong = new Map(problems.map(({ policy, problem }) => [policyText(policy), problem]));
  const plans = objects.map((object): Plan => {
    const { kind, title } = object;
    if (LACKING.includes(kind)) {
      const fix = 'enforce it by other means, or delete it';
      return left(title, 'flatnet does not read this kind', `${title} would no longer be enforced`, fix);
    }
    const problem = SETS.includes(kind) ? setProblem(object) : wrong.get(policyText(writtenOf(object)));
    if (problem !== undefined)
      return left(title, problem, `${title} cannot be read as it is`, `change it: ${problem}`);
    const text = kind.startsWith('Staged') ? 'agents count what it would do' : 'agents read it where it is';
    return { steps: [{ action: 'keep', object: title, text }], obstacles: [] };
  });
  return {
    steps: plans.flatMap(({ steps }) => steps),
    obstacles: plans.flatMap(({ obstacles }) => obstacles),
  };
}

function left(object: string, text: string, what: string, fix: string): Plan {
  return { steps: [{ action: 'leave', object, text }], obstacles: [{ what, fix }] };
}

function writtenOf({ kind, group, name, metadata, spec }: CalicoObject): Written {
  const isCalicos = kind === 'NetworkPolicy' && group !== 'networking.k8s.io';
  const own = isCalicos ? CALICO_NETWORK_POLICY : kind;
  const isClustered = kind.includes('Global') || kind.startsWith('Cluster') || kind === TIER;
  const namespace = isClustered ? undefined : (metadata.string('namespace') ?? 'default');
  return { kind: own, ...(namespace !== undefined && { namespace }), name, spec: spec.source };
}

function setProblem({ name, spec }: CalicoObject): string | undefined {
  try {
    readNetworkSet({ namespace: undefined, name, labels: {}, namespaceLabels: {} }, spec);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
