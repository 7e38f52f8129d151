import type { LocalPod, Self } from '../cluster/node.ts';
import type { WiringName } from '../cluster/wiring.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/** What a wiring's items depend on besides its pods. */
export type WiringFacts = {
  readonly self: Self;
  /** In which pods have addresses. */
  readonly families: readonly Family[];
  /** Bytes a pod may send in one packet. */
  readonly mtu: number;
  /** UDP ports on which nodes decapsulate: pods may not send there. */
  readonly tunnelPorts: readonly number[];
};

/**
 * How a pod is attached to its node: what the kernel holds on the host's side. Pure. To add one, write a file
 * that exports such an object and list it in `registry.ts`. What ADD and DEL do is in `cni/wiring/`, under
 * the same name.
 */
export interface Wiring {
  readonly name: WiringName;
  /** The device by which pods' packets reach the node, or a name it could have: firewalls match on it. */
  readonly podDevice: string;
  /**
   * Whether the node's subnets are on a device of this wiring. If on none, blackholes take what has no pod.
   */
  readonly holdsSubnets: boolean;
  /** What the node needs, whatever its pods. */
  node(facts: WiringFacts): readonly Item[];
  /** What one pod needs. */
  pod(pod: LocalPod, facts: WiringFacts): readonly Item[];
}
