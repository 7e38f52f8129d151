import type { LocalPod, Self } from '../cluster/node.ts';
import { BITS, type Family, familyOf, type Ip } from '../ip/address.ts';
import { contains, lengthOf, nthIp, type Prefixed, prefixed } from '../ip/cidr.ts';
import { macFromSeed } from '../ip/mac.ts';
import { deviceItems } from '../state/device-settings.ts';
import type { Item } from '../state/item.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';
import { forwardingItems } from './forwarding.ts';
import { podRoutes, portMac } from './pod-device.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** The bridge that flannel's CNI configuration names. */
export const BRIDGE = 'cni0';

/**
 * Pods are ports of one bridge, which holds the first address of each of the node's subnets and is the pods'
 * gateway, like the reference `bridge` plugin with `isGateway` and `hairpinMode`.
 *
 * `net/bridge/bridge-nf-call-iptables` is left alone: bridged traffic between pods of a node needs no rule of
 * ours, and kube-proxy, which needs the setting for services, sets it for the whole host.
 */
export const bridge: Wiring = {
  name: 'bridge',
  podDevice: BRIDGE,
  holdsSubnets: true,
  node: nodeItems,
  pod: (pod, { self, families, mtu }) => [
    ...(pod.hostDevice === undefined ? [] : portItems(pod.hostDevice, mtu)),
    ...formerSubnetItems(pod, self, families),
  ],
};

/**
 * What a pod needs whose addresses are of a subnet that this node has lost: its gateway, and a route to it,
 * each for that one address, as the rest of the subnet is another node's. It still reaches this node, the
 * node's other pods and the outside.
 */
function formerSubnetItems(pod: LocalPod, self: Self, families: readonly Family[]): Item[] {
  const { subnets = [] } = pod;
  const former = pod.addresses.filter(
    (ip) => families.includes(familyOf(ip)) && !self.node.subnets.some((subnet) => contains(subnet, ip)),
  );
  const gateways = subnets
    .filter((subnet) => former.some((ip) => contains(subnet, ip)))
    .map((subnet) => nthIp(subnet, 1));
  return [
    ...gateways.map((ip): Item => ({ kind: 'address', dev: BRIDGE, address: hostPrefixed(ip) })),
    ...podRoutes({ addresses: former }).map(
      (route): Item => ({ kind: 'route', type: 'unicast', dev: BRIDGE, ...route }),
    ),
  ];
}

function hostPrefixed(ip: Ip): Prefixed {
  return prefixed(ip, BITS[familyOf(ip)]);
}

function nodeItems({ self, families, mtu }: WiringFacts): readonly Item[] {
  const items: Item[] = [
    {
      kind: 'link',
      name: BRIDGE,
      link: { type: 'bridge' },
      up: true,
      mtu,
      // Otherwise the bridge takes the lowest MAC of its ports, which changes as they come and go.
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
  items.push(...deviceItems(BRIDGE, families));
  // The kernel announces a changed MAC to the pods, which would otherwise use the old one for seconds.
  if (families.includes(4))
    items.push({ kind: 'sysctl', path: `net/ipv4/conf/${BRIDGE}/arp_notify`, value: '1' });
  if (families.includes(6))
    items.push({ kind: 'sysctl', path: `net/ipv6/conf/${BRIDGE}/ndisc_notify`, value: '1' });
  // While its link-local address is tentative, a router solicits no neighbours: pods would wait a second.
  if (families.includes(6))
    items.push({ kind: 'sysctl', path: `net/ipv6/conf/${BRIDGE}/accept_dad`, value: '0' });
  return items;
}

/**
 * How a pod's port differs from the kernel's defaults (a pod reaches itself through a service), and what must
 * stay as it is by default for pods to reach each other.
 */
const PORT: NonNullable<LinkItem['port']> = {
  forwarding: true,
  hairpin: true,
  learning: true,
  flood: true,
  multicastFlood: true,
  broadcastFlood: true,
  isolated: false,
  locked: false,
  neighbourSuppression: false,
  proxyArp: false,
  bpduGuard: false,
  rootBlock: false,
  vlanTunnel: false,
};

/** The host's end of a pod's veth: a bridge port in hairpin mode. */
function portItems(name: string, mtu: number): Item[] {
  return [
    {
      kind: 'link',
      name,
      link: { type: 'existing' },
      up: true,
      mtu,
      mac: portMac(name),
      master: BRIDGE,
      port: PORT,
      entries: 'kernel',
    },
    // In case someone takes it off the bridge: the node would listen to the pod's router advertisements.
    { kind: 'sysctl', path: `net/ipv6/conf/${name}/accept_ra`, value: '0' },
  ];
}
