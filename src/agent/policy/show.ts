import { type LocalPod, podTitle } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import type { NodePolicies } from '../../policy/node/contributions.ts';
import { countedItems } from '../../policy/observe/counts.ts';
import { type InForce, inForce } from '../../policy/observe/in-force.ts';
import { readCounters } from './counters.ts';

/**
 * What is in force for a pod of this node, once for each of its interfaces. Throws NOT_FOUND if there is no
 * such pod, or no policy is in force.
 */
export async function showPolicies(
  policies: NodePolicies | undefined,
  pod: string,
): Promise<readonly InForce[]> {
  if (!policies) throw noPolicies();
  const { subjects, waiting, compiled, staged, cluster } = policies;
  refuseWaiting(waiting, pod);
  const own = [...subjects].filter(([local]) => podTitle(local) === pod);
  if (own.length === 0)
    throw notFound('is no pod of this node', pod, 'write NAMESPACE/NAME, as flatnet status does');
  const shown: InForce[] = [];
  for (const [, subject] of own) {
    const decided = compiled.pods.get(subject.pod)?.decided ?? [];
    const differing = staged?.pods.get(subject.pod) ?? [];
    const items = [...countedItems(subject.pod, decided), ...differing.map(({ item }) => item)];
    const counters = await readCounters([...compiled.tables, ...(staged?.tables ?? [])], items);
    shown.push(inForce(cluster.tiers, subject.pod, cluster.names, { decided, differing }, counters));
  }
  return shown;
}

/** Throws NOT_FOUND for a pod, by name or address, to which and from which nothing passes yet. */
export function refuseWaiting(waiting: readonly LocalPod[], pod: string): void {
  const isIt = (each: LocalPod): boolean => podTitle(each) === pod || each.addresses.some((ip) => ip === pod);
  if (waiting.some(isIt))
    throw notFound('nobody knows yet which policies are about it', pod, 'look for its Pod object');
}

export function noPolicies(): FlatnetError {
  const fix = 'set policy in the network’s configuration';
  return new FlatnetError('no policies are in force on this node', { code: 'NOT_FOUND', fix });
}

function notFound(text: string, object: string, fix: string): FlatnetError {
  return new FlatnetError(text, { code: 'NOT_FOUND', object, fix });
}
