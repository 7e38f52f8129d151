import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle, type Self } from '../cluster/node.ts';
import { podPools } from '../cluster/overlap.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { type GuardFacts, guardItems, podGuardItems } from '../guard/guard.ts';
import type { Problem } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import { podItems, wiringItems } from '../wiring/registry.ts';
import type { WiringFacts } from '../wiring/wiring.ts';
import { lawfulPods } from './allowed-sources.ts';
import { Memo } from './memo.ts';
import { nodePart } from './node-part.ts';
import { peerContribution } from './peer.ts';
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
};

export type Desired = {
  /** One per owner: the same object as in the last call unless its content changed. */
  readonly contributions: readonly Contribution[];
  /** Problems beyond those in the contributions' own warnings. */
  readonly warnings: readonly Problem[];
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
};

/**
 * Computes what this node's kernel should hold. Pure; with a memo, a change of one pod or peer recomputes
 * only its contribution. Throws CONFIG_INVALID when the network's backend is unknown or its options are
 * wrong.
 */
export function desiredState(facts: Facts, memo: Memo = new Memo()): Desired {
  const { network, self, peers, resources = NO_RESOURCES } = facts;
  const { pods, refused } = lawfulPods(facts, memo);
  const part = memo.node(network, self, resources, () => nodePart(network, self, resources));
  const { configured, used, usable, mtu } = part;
  const { backend, options } = configured;
  // Pods keep their wiring even if no peer can be reached in a family.
  const wiringFacts: WiringFacts = { self, families: used, mtu };
  const guardFacts: GuardFacts = {
    network,
    families: used,
    tunnelPorts: backend.tunnelPorts?.(options) ?? [],
  };
  const { routed, bridged } = guardItems(pods, guardFacts);
  const pools = podPools(network, resources);
  // Blocks come and go with pods, and no pod depends on them.
  const held = network.addresses === 'lease' ? self.node.subnets : [];
  const wiring: Contribution = {
    owner: { part: 'wiring', name: 'this node' },
    items: [...wiringItems(network.wiring, pods, wiringFacts), ...routed],
    warnings: [],
  };
  const guard: Contribution = {
    owner: { part: 'guard', name: 'this node' },
    items: bridged,
    warnings: [],
  };
  return {
    contributions: [
      part.backend,
      part.masquerade,
      memo.wiring(wiring),
      memo.guard(guard),
      ...memo.pods.of(pods, JSON.stringify([used, mtu, network.guard, held]), (pod) => ({
        owner: { part: 'pod', name: podTitle(pod), id: `${pod.containerId} ${pod.ifName}` },
        items: [...podItems(pod, wiringFacts), ...podGuardItems(pod, guardFacts)],
        warnings: [],
      })),
      ...memo.peers.of(peers, JSON.stringify([options, self, usable, pools]), (peer) =>
        peerContribution(self, peer, configured, usable, pools),
      ),
    ],
    warnings: [
      ...refused,
      ...strayPods(network, resources, pods, memo.strays),
      ...podsOfFormerSubnets(network, self.node, pods, memo.strays),
      ...subnetsOutsideNetwork(network, self.node),
    ],
    mtu,
  };
}
