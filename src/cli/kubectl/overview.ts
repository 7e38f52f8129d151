import { asJson, type KubernetesObject } from '../../kubernetes/api/object.ts';
import { excerpt } from '../../problem.ts';
import { publishedNode } from '../../store/published-node.ts';

/** What the API server knows of a node and its agent. */
export type NodeOverview = {
  readonly node: string;
  /** Whether what is known is current, and the node can run pods. */
  readonly well: boolean;
  readonly kubelet: 'ready' | 'not ready' | 'silent';
  /** The reason of the condition NetworkUnavailable; absent: nobody has set it. */
  readonly network?: string;
  readonly agent: AgentState;
  readonly restarts?: number;
  readonly subnets: readonly string[];
  readonly addresses: readonly string[];
  readonly backend?: string;
  /** Why it is not well. */
  readonly problems: readonly string[];
  /** What its agent noted within the last hour, the newest last; some of it may have passed. */
  readonly notes: readonly { readonly at: string; readonly text: string }[];
};

/**
 * By its pod's readiness, which is its `/readyz`. `unseen`: it has no pod, but has published the node, so it
 * runs as a service. `flannel`: flanneld has. `unknown`: we may not see pods.
 */
export type AgentState = 'ready' | 'not ready' | 'unseen' | 'flannel' | 'none' | 'unknown';

export type ClusterObjects = {
  readonly nodes: readonly KubernetesObject[];
  /** The agents'; undefined if they cannot be listed. */
  readonly pods: readonly KubernetesObject[] | undefined;
  readonly events: readonly KubernetesObject[];
};

/** The nodes by name. */
export function overviewOf({ nodes, pods, events }: ClusterObjects): NodeOverview[] {
  const byName = (a: KubernetesObject, b: KubernetesObject): number =>
    a.metadata.name.localeCompare(b.metadata.name, 'en', { numeric: true });
  return nodes.toSorted(byName).map((node) => {
    const { name } = node.metadata;
    return nodeOverview(node, pods && podOn(name, pods), pods !== undefined, notesOn(name, events));
  });
}

/** The agent's pod of a node. */
export function podOn(node: string, pods: readonly KubernetesObject[]): KubernetesObject | undefined {
  const isLeaving = ({ metadata }: KubernetesObject): boolean => metadata.deletionTimestamp !== undefined;
  const all = pods.filter(({ spec }) => asJson(spec).nodeName === node);
  return all.find((pod) => !isLeaving(pod)) ?? all[0];
}

function nodeOverview(
  node: KubernetesObject,
  pod: KubernetesObject | undefined,
  seesPods: boolean,
  notes: NodeOverview['notes'],
): NodeOverview {
  const { name } = node.metadata;
  const { subnets, published } = publishedNode(node);
  const kubelet = kubeletState(condition(node, 'Ready')?.status);
  const network = condition(node, 'NetworkUnavailable');
  const podIsReady = pod && condition(pod, 'Ready')?.status === 'True';
  // Our annotation stays where flannel is again; flanneld sets the condition as it starts.
  const isFlannels = published?.instance === undefined || network?.reason === 'FlannelIsUp';
  const withoutPod = published ? (isFlannels ? 'flannel' : 'unseen') : 'none';
  const agent = pod ? (podIsReady ? 'ready' : 'not ready') : seesPods ? withoutPod : 'unknown';
  const problems = [
    ...(kubelet === 'silent' ? ['its kubelet does not answer: nothing here is known to be current'] : []),
    ...(network?.status === 'True' ? [`${network.reason}: ${network.message}`] : []),
    ...(kubelet === 'not ready' ? [`not ready: ${condition(node, 'Ready')?.message}`] : []),
    ...(agent === 'none' ? ['no agent has been here'] : []),
    ...(agent === 'not ready' ? [`its agent’s pod ${pod?.metadata.name} is not ready`] : []),
  ];
  return {
    node: name,
    well: problems.length === 0,
    kubelet,
    ...(network && { network: network.reason }),
    agent,
    ...(pod && { restarts: restartsOf(pod) }),
    subnets,
    addresses: Object.values(published?.addresses ?? {}),
    ...(published && { backend: excerpt(published.backend.type, 40) }),
    problems: problems.map((problem) => excerpt(problem, 500)),
    notes,
  };
}

function kubeletState(ready: string | undefined): NodeOverview['kubelet'] {
  if (ready === 'True') return 'ready';
  return ready === 'False' ? 'not ready' : 'silent';
}

type Condition = { readonly status: string; readonly reason: string; readonly message: string };

function condition({ status }: KubernetesObject, type: string): Condition | undefined {
  const { conditions } = asJson(status);
  const found = (Array.isArray(conditions) ? conditions : []).map(asJson).find((each) => each.type === type);
  if (!found) return undefined;
  const text = (name: string): string => excerpt(String(found[name] ?? ''), 400);
  return { status: text('status'), reason: text('reason'), message: text('message') };
}

function restartsOf({ status }: KubernetesObject): number {
  const { containerStatuses } = asJson(status);
  const all = (Array.isArray(containerStatuses) ? containerStatuses : []).map(asJson);
  return all.reduce((sum, { restartCount }) => sum + (Number(restartCount) || 0), 0);
}

function notesOn(node: string, events: readonly KubernetesObject[]): NodeOverview['notes'] {
  return events
    .filter(({ regarding, reportingController }) => {
      const { kind, name } = asJson(regarding);
      return reportingController === 'flatnet.dev/agent' && kind === 'Node' && name === node;
    })
    .map(({ eventTime, series, reason, note }) => ({
      at: String(asJson(series).lastObservedTime ?? eventTime ?? ''),
      text: excerpt(`${reason}: ${note}`, 400),
    }))
    .sort((a, b) => (a.at < b.at ? -1 : 1));
}
