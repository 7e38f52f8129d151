import type { Network } from '../cluster/network.ts';
import { type LocalPod, type Node, podTitle, type Self } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import type { Contribution } from '../state/contributions.ts';
import { podItems, wiringItems } from '../wiring/registry.ts';
import type { WiringFacts } from '../wiring/wiring.ts';
import { Memo } from './memo.ts';
import { nodePart } from './node-part.ts';
import { peerContribution } from './peer.ts';
import { strayPods } from './stray-pods.ts';

/** All that one node's desired state is computed from. Whoever changes a fact makes a new object of it. */
export type Facts = {
  readonly network: Network;
  readonly self: Self;
  /** The nodes of the cluster; this node among them is passed over. */
  readonly peers: readonly Node[];
  /** The pods that hang on this node. */
  readonly pods: readonly LocalPod[];
  /** Absent: nobody has written any. */
  readonly resources?: Resources;
};

export type Desired = {
  /** One for each owner: the same object as in the last call unless something of it changed. */
  readonly contributions: readonly Contribution[];
  /** What keeps a family or a pod from working, for people; besides those of the contributions. */
  readonly warnings: readonly string[];
  /** Bytes a pod may send in one packet. */
  readonly mtu: number;
};

/**
 * What the kernel of this node should hold. Pure; with a memo, a call after one pod's or one peer's change
 * computes what that one contributes. Throws CONFIG_INVALID when the network's backend is unknown or its
 * options are wrong.
 */
export function desiredState(facts: Facts, memo: Memo = new Memo()): Desired {
  const { network, self, peers, pods, resources = NO_RESOURCES } = facts;
  const part = memo.node(network, self, resources, () => nodePart(network, self, resources));
  const { configured, used, usable, mtu } = part;
  const { backend, options } = configured;
  // Pods keep what they hang on although no peer can be reached in a family.
  const wiringFacts: WiringFacts = {
    self,
    families: used,
    mtu,
    tunnelPorts: backend.tunnelPorts?.(options) ?? [],
  };
  const wiring: Contribution = {
    owner: { part: 'wiring', name: 'this node' },
    items: wiringItems(network.wiring, pods, wiringFacts),
    warnings: [],
  };
  return {
    contributions: [
      part.backend,
      part.masquerade,
      memo.wiring(wiring),
      ...memo.pods.of(pods, JSON.stringify([used, mtu]), (pod) => ({
        owner: { part: 'pod', name: podTitle(pod), id: `${pod.containerId} ${pod.ifName}` },
        items: podItems(pod, wiringFacts),
        warnings: [],
      })),
      ...memo.peers.of(peers, JSON.stringify([network, options, self, usable]), (peer) =>
        peerContribution(self, peer, configured, usable),
      ),
    ],
    warnings: strayPods(network, resources, pods),
    mtu,
  };
}
