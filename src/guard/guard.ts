import type { Network } from '../cluster/network.ts';
import { isOnBridge, type LocalPod } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { usedWirings } from '../wiring/registry.ts';
import { arpGuard, type Decapsulated, podGuard, sourceGuard } from './pods.ts';
import { bridgeGuard, portGuard } from './ports.ts';

/** What the guard depends on besides pods. */
export type GuardFacts = {
  readonly network: Pick<Network, 'guard' | 'wiring' | 'policy'>;
  /** The families in which pods have addresses. */
  readonly families: readonly Family[];
  /** What nodes decapsulate, which pods may not send: UDP ports and IP protocols. */
  readonly decapsulates: Decapsulated;
};

/**
 * Returns the tables at the node's side of its pods. `optional` are those of the families bridge and ARP,
 * which a kernel may lack; then pods still work, and the status says that they are not guarded.
 */
export function guardItems(
  pods: readonly LocalPod[],
  { network, families, decapsulates }: GuardFacts,
): { readonly routed: readonly Item[]; readonly optional: readonly Item[] } {
  if (network.guard === false) return { routed: [], optional: [] };
  const names = usedWirings(network.wiring, pods).map(({ name }) => name);
  const used = {
    bridge: names.includes('bridge') || pods.some((pod) => isOnBridge(pod, BRIDGE)),
    routed: names.includes('routed'),
  };
  // IPv4 cannot be disabled per device, so it is guarded even in a cluster without it, where no IPv4 source
  // belongs to a pod.
  const guarded = [...new Set<Family>([4, ...families])];
  return {
    routed: guarded.map((family) => podGuard(family, decapsulates, used)),
    optional: [
      ...(used.bridge ? bridgeGuard(network.policy !== undefined) : []),
      ...(used.routed ? [arpGuard()] : []),
    ],
  };
}

/** Returns a pod's elements in the guard's tables. */
export function podGuardItems(pod: LocalPod, { network, families }: GuardFacts): readonly Item[] {
  if (network.guard === false) return [];
  return isOnBridge(pod, BRIDGE) ? portGuard(pod, network.policy !== undefined) : sourceGuard(pod, families);
}

/** Whether a pod would be guarded in any network: its wiring is ours, or it is a port of our bridge. */
export function mayBeGuarded(pod: LocalPod): boolean {
  return isOnBridge(pod, BRIDGE) || pod.wiring === 'routed';
}
