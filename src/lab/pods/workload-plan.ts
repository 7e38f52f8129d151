import { FlatnetError } from '../../error.ts';
import { podName } from '../record/names.ts';
import type { Workload } from './manifest/read.ts';
import { type SchedulableNode, schedule, selects } from './schedule.ts';

export type PlannedPod = {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly workload: Workload;
};

export type ExistingPod = {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly owner?: string;
  readonly template?: string;
  /** Whether its sandbox is running. */
  readonly alive: boolean;
};

export type Plan<P extends ExistingPod> = {
  readonly remove: readonly P[];
  readonly create: readonly PlannedPod[];
  /** Why some workloads cannot have all their pods now. */
  readonly pending: readonly FlatnetError[];
};

export function ownerOf(workload: Pick<Workload, 'kind' | 'name'>): string {
  return `${workload.kind}/${workload.name}`;
}

/**
 * Plans the changes that give every workload its pods: the desired number, from its current template; for a
 * DaemonSet, one per node. Pods without an owner are left alone; pods whose owner is gone are removed.
 */
export function planWorkloads<P extends ExistingPod>(
  workloads: readonly Workload[],
  nodes: readonly SchedulableNode[],
  pods: readonly P[],
): Plan<P> {
  const keep = new Set<P>(pods.filter((pod) => pod.owner === undefined));
  const create: PlannedPod[] = [];
  const pending: FlatnetError[] = [];
  for (const workload of workloads) {
    const own = pods.filter((pod) => pod.owner === ownerOf(workload) && pod.namespace === workload.namespace);
    const current = own.filter((pod) => pod.alive && pod.template === workload.hash);
    const planPods = workload.kind === 'Deployment' ? replicas : onEveryNode;
    const plan = planPods(workload, nodes, current, [...keep, ...create]);
    for (const pod of plan.keep) keep.add(pod);
    create.push(...plan.create);
    if (plan.pending) pending.push(plan.pending);
  }
  return { remove: pods.filter((pod) => !keep.has(pod)), create, pending };
}

type WorkloadPlan<P> = {
  readonly keep: readonly P[];
  readonly create: readonly PlannedPod[];
  readonly pending?: FlatnetError;
};
type Elsewhere = readonly { readonly node: string }[];

function replicas<P extends ExistingPod>(
  workload: Workload,
  nodes: readonly SchedulableNode[],
  current: readonly P[],
  others: Elsewhere,
): WorkloadPlan<P> {
  const keep = scaleDown(current, workload.replicas);
  const taken = new Set(keep.map((pod) => pod.name));
  const create: PlannedPod[] = [];
  const owner = ownerOf(workload);
  for (let n = 1; keep.length + create.length < workload.replicas; n++) {
    const name = podName(`${workload.name}-${workload.hash}-${n}`);
    if (taken.has(name)) continue;
    const own = [...keep, ...create].map(({ node }) => ({ node, owner }));
    const placed = [...own, ...others.map(({ node }) => ({ node }))];
    const node = attempt(() => schedule({ ...workload.template, owner }, nodes, placed));
    if (node instanceof FlatnetError) return { keep, create, pending: node };
    create.push({ namespace: workload.namespace, name, node, workload });
  }
  return { keep, create };
}

function attempt<T>(work: () => T): T | FlatnetError {
  try {
    return work();
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'NOT_FOUND') return error;
    throw error;
  }
}

/** Keeps `count` of the pods, dropping one at a time from the node with the most. */
function scaleDown<P extends ExistingPod>(pods: readonly P[], count: number): readonly P[] {
  let rest = pods;
  while (rest.length > count) {
    const load = (pod: P): number => rest.filter((each) => each.node === pod.node).length;
    const most = Math.max(...rest.map(load));
    const victim = rest.findLast((pod) => load(pod) === most);
    rest = rest.filter((pod) => pod !== victim);
  }
  return rest;
}

function onEveryNode<P extends ExistingPod>(
  workload: Workload,
  nodes: readonly SchedulableNode[],
  current: readonly P[],
): WorkloadPlan<P> {
  const { nodeName, nodeSelector } = workload.template;
  const matching = nodes.filter(
    (node) => selects(nodeSelector, node) && (nodeName === undefined || nodeName === node.name),
  );
  const keep = matching.flatMap((node) => current.find((pod) => pod.node === node.name) ?? []);
  const create = matching
    .filter((node) => node.ready && !keep.some((pod) => pod.node === node.name))
    .map((node) => ({
      namespace: workload.namespace,
      name: podName(`${workload.name}-${node.name}`),
      node: node.name,
      workload,
    }));
  return { keep, create };
}
