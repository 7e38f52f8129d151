import type { LocalPod } from '../cluster/node.ts';
import type { WiringName } from '../cluster/wiring.ts';
import { BITS, familyOf } from '../ip/address.ts';
import { lengthOf } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import { bridge } from './bridge.ts';
import { ipvlan, macvlan } from './physical.ts';
import { routed } from './routed.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** All wirings, by name. */
const WIRINGS: { readonly [N in WiringName]: Wiring } = { bridge, routed, macvlan, ipvlan };

export function wiringOf(name: WiringName): Wiring {
  return WIRINGS[name];
}

/** The wiring of a pod. */
export function wiringOfPod({ wiring = 'bridge' }: Pick<LocalPod, 'wiring'>): Wiring {
  return WIRINGS[wiring];
}

/**
 * Returns the items this node needs for its pods. A pod keeps the wiring it was created with, so after a
 * change of the network's wiring the node serves both until the old pods are gone.
 */
export function wiringItems(
  name: WiringName,
  pods: readonly LocalPod[],
  facts: WiringFacts,
): readonly Item[] {
  const wirings = usedWirings(name, pods);
  const held = wirings.some(({ holdsSubnets }) => holdsSubnets);
  return [...(held ? [] : blackholes(facts)), ...wirings.flatMap((wiring) => wiring.node(facts))];
}

/** The network's wiring, and those of pods from before it changed. */
export function usedWirings(name: WiringName, pods: readonly LocalPod[]): readonly Wiring[] {
  const used = new Set([wiringOf(name), ...pods.filter(({ foreign }) => !foreign).map(wiringOfPod)]);
  return Object.values(WIRINGS).filter((wiring) => used.has(wiring));
}

/** Returns the items for one pod on the host's side. */
export function podItems(pod: LocalPod, facts: WiringFacts): readonly Item[] {
  return pod.foreign ? [] : wiringOfPod(pod).pod(pod, facts);
}

/**
 * Routes that drop packets to addresses of ours without a pod, which would otherwise loop through the default
 * route. BGP advertises these routes. A block of one address needs none: while a pod has the address, the
 * pod's route is advertised, and otherwise another node may borrow it.
 */
function blackholes({ self, families }: WiringFacts): Item[] {
  return self.node.subnets
    .filter((subnet) => families.includes(familyOf(subnet)) && lengthOf(subnet) < BITS[familyOf(subnet)])
    .map((dst) => ({ kind: 'route', type: 'blackhole', dst, protocol: OUR_PROTOCOL }));
}
