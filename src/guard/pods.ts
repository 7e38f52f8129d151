import type { LocalPod } from '../cluster/node.ts';
import { type Family, familyOf } from '../ip/address.ts';
import { linkLocalOf } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, Rule, SetValue, TableId } from '../state/kinds/nft-table.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { DEVICE_PREFIX } from '../wiring/pod-device.ts';

/** UDP ports, and IP protocols by number. */
export type Decapsulated = { readonly udp?: readonly number[]; readonly protocols?: readonly number[] };

/**
 * What nodes may decapsulate whatever the backend, as the former one or other programs do: VXLAN on IANA's
 * port and on Linux's own, and IPIP.
 */
export const ALWAYS_DECAPSULATED = { udp: [4789, 8472], protocols: [4] };

const tableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-pods' }) as const satisfies TableId;

const ARP_TABLE = { family: 'arp', table: 'flatnet-pods' } as const satisfies TableId;
/** Routed pods' devices. Others of such names may be another plugin's, or of a pod that left no record. */
const GUARDED = { name: 'guarded', key: ['ifname'] } as const satisfies SetValue;
/** Whom a routed pod may speak for by ARP. */
const SENDERS = { name: 'senders', key: ['ifname', 'ipv4_addr'] } as const satisfies SetValue;

/** Of packets that nodes decapsulate. */
const ONLY_NODES = 'only nodes send it';

/** Which of the wirings are used whose pods the node can guard. */
type UsedWirings = { readonly bridge: boolean; readonly routed: boolean };

/** The ports of pods with further sources, by their MAC: nft reverses names in interval sets. */
const EXCEPTIONS = { name: 'exceptions', key: ['ifname', 'ether_addr'] } as const satisfies SetValue;
const PREFIXES: Record<Family, SetValue<readonly ['ether_addr', 'ipv4_addr' | 'ipv6_addr'], undefined>> = {
  4: { name: 'prefixes', key: ['ether_addr', 'ipv4_addr'], interval: true },
  6: { name: 'prefixes', key: ['ether_addr', 'ipv6_addr'], interval: true },
};
/** The link-local addresses of routed pods. With others, a pod could fill the node's neighbour table. */
const LINK_LOCALS = { name: 'link-locals', key: ['ifname', 'ipv6_addr'] } as const satisfies SetValue;

/**
 * Drops what no pod may send to or through its node. For routed pods, the chain `sources` is what the
 * bridge's table is for the others: a source is the pod's own if the route back to it leads to the device the
 * packet came from; rp_filter does not ensure that where the host turns it off, and IPv6 lacks it. It runs
 * before connection tracking, so that dropped packets cost no entry. Only tunnel ports are checked after it:
 * a masquerading node picks arbitrary ports, and the replies must get through.
 */
export function podGuard(
  family: Family,
  { udp = [], protocols = [] }: Decapsulated,
  used: UsedWirings,
): Item {
  const sets = [EXCEPTIONS, PREFIXES[family], ...(family === 6 ? [LINK_LOCALS] : [])];
  const all = {
    udp: [...new Set([...ALWAYS_DECAPSULATED.udp, ...udp])],
    protocols: [...new Set([...ALWAYS_DECAPSULATED.protocols, ...protocols])],
  };
  const chains = tunnels(family, all, used);
  const table = { kind: 'nft-table', ...tableOf(family) } as const;
  return used.routed
    ? { ...table, sets, chains: [sources(family, all.protocols), ...chains] }
    : { ...table, chains };
}

/**
 * Keeps routed pods from filling the node's neighbour table, which all devices share: each sender of a
 * request takes an entry. rp_filter does not ensure that: of the device's setting and the host's, the kernel
 * obeys the larger, and 2 is the loose one.
 */
export function arpGuard(): Item {
  return {
    kind: 'nft-table',
    ...ARP_TABLE,
    sets: [GUARDED, SENDERS, EXCEPTIONS, PREFIXES[4]],
    chains: [
      {
        name: 'senders',
        hook: { type: 'filter', hook: 'input', priority: 'filter' },
        rules: [
          { rule: 'iifname != @guarded accept' },
          { rule: 'iifname . arp saddr ip @senders accept' },
          { rule: 'arp saddr ip 0.0.0.0 accept', comment: 'a probe (RFC 5227)' },
          {
            rule: 'iifname . arp saddr ether @exceptions arp saddr ether . arp saddr ip @prefixes accept',
            comment: 'allowedSourcePrefixes',
          },
          { rule: 'drop', comment: 'a sender that is not its own' },
        ],
      },
    ],
  };
}

function sources(family: Family, protocols: readonly number[]): Chain {
  const ip = family === 4 ? 'ip' : 'ip6';
  const own: Rule[] =
    family === 4
      ? [
          // The devices have route_localnet.
          { rule: 'ip daddr 127.0.0.0/8 drop', comment: 'the host’s own loopback' },
          { rule: 'icmp type { redirect, router-advertisement } drop', comment: 'for routers' },
        ]
      : [
          {
            rule: 'ip6 saddr fe80::/10 iifname . ip6 saddr != @link-locals drop',
            comment: 'a source that is not its own',
          },
          { rule: 'icmpv6 type { nd-router-advert, nd-redirect } drop', comment: 'for routers' },
        ];
  return {
    name: 'sources',
    hook: { type: 'filter', hook: 'prerouting', priority: 'raw' },
    rules: [
      { rule: `iifname != "${DEVICE_PREFIX}*" accept` },
      ...protocols.map((protocol) => ({ rule: `meta l4proto ${protocol} drop`, comment: ONLY_NODES })),
      ...own,
      { rule: 'fib saddr . iif oif exists accept' },
      {
        rule: `iifname . ether saddr @exceptions ether saddr . ${ip} saddr @prefixes accept`,
        comment: 'allowedSourcePrefixes',
      },
      { rule: 'drop', comment: 'a source that is not its own' },
    ],
  };
}

function tunnels(
  family: Family,
  { udp, protocols }: Required<Decapsulated>,
  used: UsedWirings,
): readonly Chain[] {
  // Header bytes, as other packets should pay little: an expression with a name costs two more.
  const protocolIs = family === 4 ? 'ip protocol' : 'meta l4proto';
  return [
    {
      name: 'tunnels',
      hook: { type: 'filter', hook: 'prerouting', priority: 'mangle' },
      rules: [
        ...(used.bridge ? protocols : []).map((protocol) => ({
          rule: `${protocolIs} ${protocol} iifname "${BRIDGE}" drop`,
          comment: ONLY_NODES,
        })),
        { rule: `${protocolIs} != 17 accept` },
        ...udp.map((port) => ({ rule: `@th,16,16 ${port} goto tunnel-port` })),
      ],
    },
    {
      name: 'tunnel-port',
      rules: [
        { rule: 'ct direction reply accept', comment: 'an answer' },
        ...(used.bridge ? [{ rule: `iifname "${BRIDGE}" drop`, comment: ONLY_NODES }] : []),
        ...(used.routed ? [{ rule: `iifname "${DEVICE_PREFIX}*" drop`, comment: ONLY_NODES }] : []),
      ],
    },
  ];
}

/** A pod's elements in the tables of its families. */
export function sourceGuard(pod: LocalPod, families: readonly Family[]): readonly Item[] {
  const { hostDevice: dev, mac, addresses, allowedSources = [], wiring } = pod;
  if (wiring !== 'routed' || dev === undefined) return [];
  const tablesOf = (family: Family) => (family === 4 ? [tableOf(4), ARP_TABLE] : [tableOf(6)]);
  const items = [
    elementItem(ARP_TABLE, elementOf(GUARDED, [dev])),
    ...addresses
      .filter((ip) => familyOf(ip) === 4)
      .map((ip) => elementItem(ARP_TABLE, elementOf(SENDERS, [dev, ip]))),
  ];
  // Chained to another plugin's interface.
  if (mac === undefined) return items;
  for (const cidr of allowedSources) {
    const family = familyOf(cidr);
    for (const table of tablesOf(family))
      items.push(elementItem(table, elementOf(PREFIXES[family], [mac, cidr])));
  }
  for (const table of [...new Set(allowedSources.map(familyOf))].flatMap(tablesOf)) {
    items.push(elementItem(table, elementOf(EXCEPTIONS, [dev, mac])));
  }
  if (families.includes(6)) {
    items.push(elementItem(tableOf(6), elementOf(LINK_LOCALS, [dev, linkLocalOf(mac)])));
  }
  return items;
}
