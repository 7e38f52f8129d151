import type { LocalPod } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { prefixed } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, Rule, SetValue } from '../state/kinds/nft-table.ts';
import { forwardingItems } from './forwarding.ts';
import { DEVICE_PREFIX, deviceSysctls, GATEWAY, HOST_MAC, podAlias, podRoutes } from './pod-device.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** VXLAN's ports, IANA's and Linux's default: nodes may decapsulate on either. */
const VXLAN_PORTS = [4789, 8472];
const TUNNEL_PORTS = { name: 'tunnel-ports', key: ['inet_service'] } as const satisfies SetValue;

/** Each pod has a point-to-point link to its node, which routes for it: no bridge, no shared network. */
export const routed: Wiring = {
  name: 'routed',
  podDevice: `${DEVICE_PREFIX}00000000000`,
  holdsSubnets: false,
  node: nodeItems,
  pod: podItems,
};

function nodeItems({ self, families, tunnelPorts }: WiringFacts): readonly Item[] {
  // IPv4 cannot be disabled per device, so it is guarded even in a cluster without it, where no IPv4 source
  // belongs to a pod.
  const guarded = new Set<Family>([4, ...families]);
  return [
    ...families.flatMap((family) => forwardingItems(self, family)),
    ...[...guarded].flatMap((family) => guard(family, tunnelPorts)),
  ];
}

/** The host's end of a pod's veth, and the routes to the pod. */
function podItems(pod: LocalPod, { families, mtu }: WiringFacts): readonly Item[] {
  const dev = pod.hostDevice;
  const items: Item[] = [
    {
      kind: 'link',
      name: dev,
      link: { type: 'existing' },
      up: true,
      mtu,
      mac: HOST_MAC,
      alias: podAlias(pod),
      entries: 'kernel',
    },
    ...deviceSysctls(dev, families).map(([path, value]): Item => ({ kind: 'sysctl', path, value })),
  ];
  if (families.includes(6)) items.push({ kind: 'address', dev, address: prefixed(GATEWAY[6], 64) });
  for (const route of podRoutes(pod)) items.push({ kind: 'route', type: 'unicast', dev, ...route });
  return items;
}

/**
 * Drops what no pod may send. A source is the pod's own if the route back to it leads to the device the
 * packet came from; rp_filter does not ensure that where the host sets it to loose for all devices, and IPv6
 * lacks it. The chain runs before connection tracking, so that dropped packets cost no entry. Only tunnel
 * ports are checked after it: a masquerading node picks arbitrary ports, and the replies must get through.
 */
function guard(family: Family, ports: readonly number[]): Item[] {
  const table = { family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-pods' } as const;
  const sources = chain('sources', 'raw', [
    { rule: 'fib saddr . iif oif missing drop', comment: 'a source that is not its own' },
    { rule: 'meta l4proto 4 drop', comment: 'IPIP: only nodes send it' },
    // The devices have route_localnet.
    ...(family === 4 ? [{ rule: 'ip daddr 127.0.0.0/8 drop', comment: 'the host’s own loopback' }] : []),
  ]);
  const tunnels = chain('tunnels', 'mangle', [
    { rule: 'ct direction reply accept', comment: 'an answer' },
    { rule: 'udp dport @tunnel-ports drop', comment: 'VXLAN: only nodes send it' },
  ]);
  return [
    { kind: 'nft-table', ...table, sets: [TUNNEL_PORTS], chains: [sources, tunnels] },
    ...[...new Set([...VXLAN_PORTS, ...ports])].map((port) =>
      elementItem(table, elementOf(TUNNEL_PORTS, [port])),
    ),
  ];
}

function chain(name: string, priority: string, rules: readonly Rule[]): Chain {
  return {
    name,
    hook: { type: 'filter', hook: 'prerouting', priority },
    rules: [{ rule: `iifname != "${DEVICE_PREFIX}*" accept` }, ...rules],
  };
}
