import type { LocalPod } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { prefixed } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, Rule, SetValue } from '../state/kinds/nft-table.ts';
import { forwardingItems } from './forwarding.ts';
import { DEVICE_PREFIX, deviceSysctls, GATEWAY, HOST_MAC, podAlias, podRoutes } from './pod-device.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** VXLAN as IANA and as Linux number it: what nodes of a cluster may decapsulate. */
const VXLAN_PORTS = [4789, 8472];
const TUNNEL_PORTS = { name: 'tunnel-ports', key: ['inet_service'] } as const satisfies SetValue;

/** Pods as hosts of their own, each on a wire to its node, which is their router: no bridge, no network that they share. */
export const routed: Wiring = {
  name: 'routed',
  podDevice: `${DEVICE_PREFIX}00000000000`,
  holdsSubnets: false,
  node: nodeItems,
  pod: podItems,
};

function nodeItems({ self, families, tunnelPorts }: WiringFacts): readonly Item[] {
  // IPv4 cannot be switched off for a device: in a cluster without it no source is a pod's own.
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
 * What no pod may send. A source is a pod's own when the route back to it leads where the packet came from; rp_filter alone
 * does not tell where the host has it loose for all devices, and IPv6 has none. Before connection tracking, so that
 * nothing of it costs an entry. Only what is for a port that nodes decapsulate at has to wait for it: a node that masquerades
 * takes any port, and the answer must come through.
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
