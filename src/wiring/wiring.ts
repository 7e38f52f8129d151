import type { Network } from '../cluster/network.ts';
import type { LocalPod, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import { bridgeItems, podItems } from './bridge.ts';
import { blackholeItems, routedItems, routedPodItems } from './routed.ts';

/**
 * What the pods of this node hang on. A pod stays as it was wired, so while pods of the other kind are left from before the
 * network's wiring was changed, there is what they need too. `ports`: see `routedItems`.
 */
export function wiringItems(
  self: Self,
  wiring: Network['wiring'],
  pods: readonly LocalPod[],
  families: readonly Family[],
  mtu: number,
  ports: readonly number[],
): readonly Item[] {
  const bridge = wiring === 'bridge' || pods.some((pod) => !pod.foreign && pod.wiring !== 'routed');
  const routed = wiring === 'routed' || pods.some((pod) => pod.wiring === 'routed');
  return [
    // The bridge has the subnet on it, in the same slot that the blackhole would take.
    ...(bridge ? bridgeItems(self, families, mtu) : blackholeItems(self, families)),
    ...(routed ? routedItems(self, families, ports) : []),
  ];
}

/** What one pod needs on the host's side. */
export function wiredPodItems(pod: LocalPod, families: readonly Family[], mtu: number): readonly Item[] {
  return pod.wiring === 'routed' ? routedPodItems(pod, families, mtu) : podItems(pod, mtu);
}
