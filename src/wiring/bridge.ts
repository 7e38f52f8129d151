import type { LocalPod } from '../cluster/node.ts';
import { familyOf } from '../ip/address.ts';
import { lengthOf, nthIp, prefixed } from '../ip/cidr.ts';
import { macFromSeed } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import { forwardingItems } from './forwarding.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** The bridge flannel's CNI configuration names. */
export const BRIDGE = 'cni0';

/**
 * Pods as ports of one bridge, which has the first address of each subnet of the node and is the pods' gateway: what the
 * reference `bridge` plugin does with `isGateway` and `hairpinMode`.
 *
 * `net/bridge/bridge-nf-call-iptables` is left as it is: bridged traffic between pods of one node needs no rule of ours,
 * and kube-proxy, which does need it for services, sets it for the whole host by itself.
 */
export const bridge: Wiring = {
  name: 'bridge',
  podDevice: BRIDGE,
  holdsSubnets: true,
  node: nodeItems,
  pod: (pod, { mtu }) => [port(pod, mtu)],
};

function nodeItems({ self, families, mtu }: WiringFacts): readonly Item[] {
  const items: Item[] = [
    {
      kind: 'link',
      name: BRIDGE,
      link: { type: 'bridge' },
      up: true,
      mtu,
      // Given explicitly, or the bridge takes the lowest MAC of its ports and changes it with them.
      mac: macFromSeed(`${self.node.name} ${BRIDGE}`),
      alias: 'flatnet bridge',
      entries: 'kernel',
    },
  ];
  for (const subnet of self.node.subnets) {
    if (!families.includes(familyOf(subnet))) continue;
    items.push({ kind: 'address', dev: BRIDGE, address: prefixed(nthIp(subnet, 1), lengthOf(subnet)) });
  }
  for (const family of families) items.push(...forwardingItems(self, family));
  return families.includes(6) ? [...items, ...ipv6Items()] : items;
}

/** The host's end of a pod's veth: a port of the bridge that may send a frame back to where it came from. */
function port({ hostDevice }: LocalPod, mtu: number): Item {
  return {
    kind: 'link',
    name: hostDevice,
    link: { type: 'existing' },
    up: true,
    mtu,
    master: BRIDGE,
    hairpin: true,
    entries: 'kernel',
  };
}

function ipv6Items(): Item[] {
  return [
    // A router solicits no neighbour while the device's link-local address is tentative: pods would wait a second for it.
    { kind: 'sysctl', path: `net/ipv6/conf/${BRIDGE}/accept_dad`, value: '0' },
    // Some hosts turn it off for devices that come (net.ipv6.conf.default).
    { kind: 'sysctl', path: `net/ipv6/conf/${BRIDGE}/disable_ipv6`, value: '0' },
  ];
}
