import { FlatnetError } from '../../error.ts';

export type SchedulableNode = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Whether its agent runs and can wire pods. */
  readonly ready: boolean;
};

/** What determines a pod's node. */
export type Placement = {
  /** Pods of one owner are spread over the nodes. */
  readonly owner?: string;
  readonly nodeName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
};

export type PlacedPod = { readonly node: string; readonly owner?: string };

/**
 * Chooses a node: the fewest pods of the same owner, then the fewest pods overall, then the first in order.
 * `nodeName` overrides everything but must be a node of the lab. Throws NOT_FOUND if no node qualifies.
 */
export function schedule(
  placement: Placement,
  nodes: readonly SchedulableNode[],
  pods: readonly PlacedPod[],
): string {
  if (placement.nodeName !== undefined) return named(placement.nodeName, nodes);
  const fit = nodes.filter((node) => selects(placement.nodeSelector ?? {}, node));
  const ready = fit.filter((node) => node.ready);
  const load = (node: SchedulableNode): [own: number, all: number] => {
    const here = pods.filter((pod) => pod.node === node.name);
    const own = placement.owner === undefined ? [] : here.filter((pod) => pod.owner === placement.owner);
    return [own.length, here.length];
  };
  const [best] = ready
    .map((node, order) => ({ node, order, load: load(node) }))
    .sort((a, b) => a.load[0] - b.load[0] || a.load[1] - b.load[1] || a.order - b.order);
  if (best) return best.node.name;
  throw unschedulable(nodes, fit);
}

function unschedulable(nodes: readonly SchedulableNode[], fit: readonly SchedulableNode[]): FlatnetError {
  const [text, fix] =
    nodes.length === 0
      ? ['there is no node', 'add one: flatnet lab node add']
      : fit.length === 0
        ? [
            'no node has the labels that the nodeSelector requires',
            `nodes have the labels ${Object.keys(wellKnownLabels('')).join(', ')}`,
          ]
        : [
            `no agent is running on ${fit.map(({ name }) => name).join(', ')}`,
            'start one with: flatnet lab node start NODE',
          ];
  return new FlatnetError(text, { code: 'NOT_FOUND', operation: 'schedule', fix });
}

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

/** The labels that a kubelet gives every node. */
function wellKnownLabels(name: string): Record<string, string> {
  return {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': ARCHITECTURES[process.arch] ?? process.arch,
  };
}

/** Whether the node has every label that the selector requires. */
export function selects(selector: Readonly<Record<string, string>>, node: SchedulableNode): boolean {
  const labels: Readonly<Record<string, string>> = { ...wellKnownLabels(node.name), ...node.labels };
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

function named(name: string, nodes: readonly SchedulableNode[]): string {
  if (nodes.some((node) => node.name === name)) return name;
  throw new FlatnetError(`there is no node '${name}'`, {
    code: 'NOT_FOUND',
    operation: 'schedule',
    object: 'node',
    fix: `the lab has ${nodes.map((node) => node.name).join(', ')}`,
  });
}
