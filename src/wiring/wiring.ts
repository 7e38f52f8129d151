import type { LocalPod, Self } from '../cluster/node.ts';
import type { Parent } from '../cluster/parent.ts';
import type { Physical } from '../cluster/physical.ts';
import type { WiringName } from '../cluster/wiring.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/** Inputs of a wiring's items besides its pods. */
export type WiringFacts = {
  readonly self: Self;
  /** The families in which pods have addresses. */
  readonly families: readonly Family[];
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
  /** Where the network's pods are on a physical one. Absent: they are not. */
  readonly physical?: OnPhysical;
};

/** How pods share a physical network, and the interface that leads to it. */
export type OnPhysical = { readonly config: Physical; readonly parent: Parent };

/**
 * How a pod is attached to its node: what the kernel holds on the host's side. Pure. To add one, export such
 * an object from its own file and list it in `registry.ts`. The code of ADD and DEL is in `cni/wiring/`,
 * under the same name.
 */
export interface Wiring {
  readonly name: WiringName;
  /**
   * The device through which pods' packets reach the node, or an example of its name: firewalls match on it.
   * Absent: the node forwards nothing for them.
   */
  readonly podDevice?: string;
  /**
   * Whether a device of this wiring, or a physical network, holds the node's subnets. If none does, blackhole
   * routes catch packets to unused addresses.
   */
  readonly holdsSubnets: boolean;
  /** Returns the items the node needs regardless of its pods. */
  node(facts: WiringFacts): readonly Item[];
  /** Returns the items for one pod. */
  pod(pod: LocalPod, facts: WiringFacts): readonly Item[];
}
