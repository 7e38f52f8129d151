import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import { podPools } from '../cluster/overlap.ts';
import type { Resources } from '../cluster/resources.ts';
import type { GuardFacts } from '../guard/guard.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { WiringFacts } from '../wiring/wiring.ts';
import type { NodePart } from './node-part.ts';

/** What the contributions of pods and peers are computed from, besides themselves. */
export type Basis = {
  readonly network: Network;
  readonly part: NodePart;
  readonly wiring: WiringFacts;
  readonly guard: GuardFacts;
  /** This node's own subnets, of which its pods have addresses. None under the `blocks` plan. */
  readonly held: readonly Cidr[];
  /** The networks of pods. */
  readonly pools: readonly Cidr[];
  /** In bytes: no pod's interface has a larger one, whoever made it. */
  readonly largestMtu: number;
  /** The same text as long as the pods' contributions remain valid. */
  readonly forPods: string;
  /** The same for the peers'. */
  readonly forPeers: string;
};

export function basisOf(network: Network, self: Self, resources: Resources, part: NodePart): Basis {
  const { configured, used, usable, mtu, physical } = part;
  const { backend, options } = configured;
  const pools = podPools(network, resources);
  // Blocks come and go with pods, and no pod depends on them.
  const held = network.addresses === 'lease' ? self.node.subnets : [];
  const largestMtu = Math.max(mtu, self.underlay.mtu);
  return {
    network,
    part,
    held,
    // Pods keep their wiring even if no peer can be reached in a family.
    wiring: { self, families: used, mtu, ...(physical && { physical }) },
    guard: { network, families: used, decapsulates: backend.decapsulates?.(options) ?? {} },
    pools,
    largestMtu,
    forPods: JSON.stringify([
      used,
      mtu,
      largestMtu,
      network.guard,
      network.masquerade.enabled,
      held,
      part.own,
      physical && [physical, self.underlay.addresses],
    ]),
    forPeers: JSON.stringify([options, self, usable, pools]),
  };
}
