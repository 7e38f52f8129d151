import type { LocalPod, Self } from '../cluster/node.ts';
import type { WiringName } from '../cluster/wiring.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/** What the items of a wiring are computed from, beside its pods. */
export type WiringFacts = {
  readonly self: Self;
  /** Of the addresses that pods have. */
  readonly families: readonly Family[];
  /** Bytes a pod may send in one packet. */
  readonly mtu: number;
  /** UDP ports at which nodes decapsulate: pods may not send there. */
  readonly tunnelPorts: readonly number[];
};

/**
 * How a pod hangs on its node, as far as the kernel's state on the host's side goes. Pure. To add one, write a file that
 * exports such an object and name it in `registry.ts`; what ADD and DEL do is in `cni/wiring/`, under the same name.
 */
export interface Wiring {
  readonly name: WiringName;
  /** A device by which packets of its pods come to the node: its own, or one of the names they may have. */
  readonly podDevice: string;
  /** Whether the node's subnets are on a device of it; else what they have no pod for ends in a blackhole. */
  readonly holdsSubnets: boolean;
  /** What the node needs, however many pods it has. */
  node(facts: WiringFacts): readonly Item[];
  /** What one pod needs. */
  pod(pod: LocalPod, facts: WiringFacts): readonly Item[];
}
