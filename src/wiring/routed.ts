import type { LocalPod, Self } from '../cluster/node.ts';
import { BITS, type Family, familyOf } from '../ip/address.ts';
import { lengthOf, prefixed } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import { forwardingItems } from './forwarding.ts';
import { DEVICE_PREFIX, deviceSysctls, GATEWAY, HOST_MAC, podAlias, podRoutes } from './pod-device.ts';

/** VXLAN as IANA and as Linux number it: what nodes of a cluster may decapsulate. */
const VXLAN_PORTS = [4789, 8472];

/**
 * Pods as hosts of their own, each on a wire to its node, which is their router: no bridge, no network that they share.
 * `ports`: UDP ports at which nodes decapsulate.
 */
export function routedItems(
  self: Self,
  families: readonly Family[],
  ports: readonly number[],
): readonly Item[] {
  // IPv4 cannot be switched off for a device: in a cluster without it no source is a pod's own.
  const guarded = new Set<Family>([4, ...families]);
  return [
    ...families.flatMap((family) => forwardingItems(self, family)),
    ...[...guarded].map((family) => guard(family, ports)),
  ];
}

/** Packets for addresses of ours that no pod has end here, or they would circle by the default route. BGP advertises these. */
export function blackholeItems(self: Self, families: readonly Family[]): readonly Item[] {
  return self.node.subnets
    .filter((subnet) => families.includes(familyOf(subnet)) && lengthOf(subnet) < BITS[familyOf(subnet)])
    .map((dst) => ({ kind: 'route', type: 'blackhole', dst, protocol: OUR_PROTOCOL }));
}

/** The host's end of a pod's veth, and the routes to the pod. */
export function routedPodItems(pod: LocalPod, families: readonly Family[], mtu: number): readonly Item[] {
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
function guard(family: Family, ports: readonly number[]): Item {
  const udp = [...new Set([...VXLAN_PORTS, ...ports])].sort((a, b) => a - b);
  const body = [
    ...chain('pods', 'raw', [
      ['fib saddr . iif oif missing drop', 'a source that is not its own'],
      ['meta l4proto 4 drop', 'IPIP: only nodes send it'],
      // The devices have route_localnet.
      ...(family === 4 ? [['ip daddr 127.0.0.0/8 drop', 'the host’s own loopback'] as const] : []),
    ]),
    ...chain('tunnels', 'mangle', [
      ['ct direction reply accept', 'an answer'],
      [`udp dport { ${udp.join(', ')} } drop`, 'VXLAN: only nodes send it'],
    ]),
  ].join('\n');
  return { kind: 'nft', family: family === 4 ? 'ip' : 'ip6', table: 'flatnet', body };
}

function chain(
  name: string,
  priority: string,
  rules: readonly (readonly [rule: string, why: string])[],
): string[] {
  return [
    `  chain ${name} {`,
    `    type filter hook prerouting priority ${priority}; policy accept;`,
    `    iifname != "${DEVICE_PREFIX}*" accept`,
    ...rules.map(([rule, why]) => `    ${rule} comment "${why}"`),
    '  }',
  ];
}
