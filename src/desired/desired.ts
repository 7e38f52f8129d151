import { bandwidthItems } from '../bandwidth/limits.ts';
import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle, type Self } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { guardItems, mayBeGuarded, podGuardItems } from '../guard/guard.ts';
import { hostPortItems } from '../host-ports/pods.ts';
import { strayItems } from '../masquerade/strays.ts';
import type { PolicyView } from '../policy/model/view.ts';
import type { KnownNames, NodePolicies } from '../policy/node/contributions.ts';
import type { Problem } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import { podItems, wiringItems } from '../wiring/registry.ts';
import { lawfulPods, unknownServices } from './allowed-sources.ts';
import { type Basis, basisOf } from './basis.ts';
import { Memo } from './memo.ts';
import { nodePart } from './node-part.ts';
import { offloadContribution } from './offload.ts';
import { overruledHostPorts } from './overruled-ports.ts';
import { peerContribution } from './peer.ts';
import { policyPart } from './policies.ts';
import { podsOfFormerSubnets, strayPods } from './stray-pods.ts';
import { subnetsOutsideNetwork } from './stray-subnets.ts';

/** Everything one node's desired state is computed from. A fact that changes must become a new object. */
export type Facts = {
  readonly network: Network;
  readonly self: Self;
  /** The nodes of the cluster; this node is skipped. */
  readonly peers: readonly Node[];
  /** This node's pods. */
  readonly pods: readonly LocalPod[];
  /** Absent: none have been written. */
  readonly resources?: Resources;
  /** Absent: not known, or not enforced. */
  readonly policies?: PolicyView | undefined;
  /** The group of NFLOG that the agent listens to. Absent: none, so that nothing is logged. */
  readonly logGroup?: number | undefined;
  /** What domain names in policies stand for. Absent: nothing. */
  readonly names?: KnownNames | undefined;
  /** Whether the kernel has flowtables. Absent: it has none, or nobody knows. */
  readonly hasFlowtables?: boolean | undefined;
};

export type Desired = {
  /** One per owner: the same object as in the last call unless its content changed. */
  readonly contributions: readonly Contribution[];
  /** Problems beyond those in the contributions' own warnings. */
  readonly warnings: readonly Problem[];
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
  /** Absent: no policies are enforced. */
  readonly policies?: NodePolicies;
};

/**
 * Computes what this node's kernel should hold. Pure; with a memo, a change of one pod or peer recomputes
 * only its contribution. Throws CONFIG_INVALID when the network's backend is unknown or its options are
 * wrong.
 */
export function desiredState(facts: Facts, memo: Memo = new Memo()): Desired {
  const { network, self, peers, resources = NO_RESOURCES } = facts;
  const { pods, refused } = lawfulPods(facts, memo);
  const common = basis(facts, memo);
  const { part, pools } = common;
  const { configured, usable, physical } = part;
  const policies = policyPart(facts, pods, part.used, memo.policies);
  return {
    contributions: [
      part.backend,
      part.masquerade,
      part.hostPorts,
      ...memo.shared(common, memo.attachments.of(pods, '', attachmentOf), () => [
        wiringContribution(network, pods, common),
        guardContribution(network, pods, common),
      ]),
      ...policies.contributions,
      ...(policies.node && network.policy?.offload && facts.hasFlowtables
        ? [memo.offload(offloadContribution(self, pods, part.backend))]
        : []),
      ...memo.pods.of(pods, common.forPods, (pod) => contributionOf(pod, common)),
      ...memo.peers.of(peers, common.forPeers, (peer) =>
        peerContribution(self, peer, configured, usable, physical ? undefined : pools),
      ),
    ],
    warnings: [
      ...refused,
      ...policies.warnings,
      ...unknownServices(network, resources),
      ...overruledHostPorts(pods, part.own),
      ...strayPods(network, resources, pods, memo.strays),
      ...podsOfFormerSubnets(network, self.node, pods, memo.strays),
      ...subnetsOutsideNetwork(network, self.node),
    ],
    mtu: part.mtu,
    ...(policies.node && { policies: policies.node }),
  };
}

/**
 * Computes one pod's contribution alone. With the same memo, `desiredState` contains the same object. Throws
 * CONFIG_INVALID like it.
 */
export function podContribution(facts: Omit<Facts, 'pods'>, pod: LocalPod, memo: Memo): Contribution {
  const common = basis(facts, memo);
  const [lawful = pod] = lawfulPods({ ...facts, pods: [pod] }, memo).pods;
  return memo.pods.one(lawful, common.forPods, () => contributionOf(lawful, common));
}

/** Whether a pod has items in some network: not if other plugins attached it to another bridge. */
export function isOurs(pod: LocalPod): boolean {
  return !pod.foreign || mayBeGuarded(pod) || (pod.hostPorts ?? pod.bandwidth) !== undefined;
}

function basis(facts: Omit<Facts, 'pods'>, memo: Memo): Basis {
  const { network, self, resources = NO_RESOURCES } = facts;
  return memo.basis(network, self, resources, () =>
    basisOf(
      network,
      self,
      resources,
      memo.node(network, self, resources, () => nodePart(network, self, resources)),
    ),
  );
}

function contributionOf(
  pod: LocalPod,
  { network, wiring, guard, held, part, largestMtu }: Basis,
): Contribution {
  return {
    owner: { part: 'pod', name: podTitle(pod), id: `${pod.containerId} ${pod.ifName}` },
    items: [
      ...podItems(pod, wiring),
      ...podGuardItems(pod, guard),
      ...bandwidthItems(pod, largestMtu),
      ...hostPortItems(pod, part.used, part.own),
      ...strayItems(network, held, pod),
    ],
    warnings: [],
  };
}

/** All that the node's own items depend on about a pod. */
function attachmentOf({ wiring, foreign, bridge }: LocalPod): string {
  return `${wiring} ${foreign} ${bridge}`;
}

function wiringContribution(
  network: Network,
  pods: readonly LocalPod[],
  { wiring, guard }: Basis,
): Contribution {
  const { routed, optional } = guardItems(pods, guard);
  return {
    owner: { part: 'wiring', name: 'this node' },
    items: [
      ...wiringItems(network.wiring, pods, wiring),
      ...routed,
      // Without them, pods could pose as others, and so pass policies: then the node takes none.
      ...(network.policy ? optional : []),
    ],
    warnings: [],
  };
}

function guardContribution({ policy }: Network, pods: readonly LocalPod[], { guard }: Basis): Contribution {
  return {
    owner: { part: 'guard', name: 'this node' },
    items: policy ? [] : guardItems(pods, guard).optional,
    warnings: [],
  };
}
