import type { LocalPod } from '../cluster/node.ts';
import { type Family, familyOf } from '../ip/address.ts';
import { linkLocalOf } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, SetValue, TableId } from '../state/kinds/nft-table.ts';

const TABLE = { family: 'bridge', table: 'flatnet-bridge' } as const satisfies TableId;

/** One set for each property of a port; every pod on the bridge contributes its elements. */
const PORTS = { name: 'ports', key: ['ifname'] } as const satisfies SetValue;
const MACS = { name: 'macs', key: ['ifname', 'ether_addr'] } as const satisfies SetValue;
const SOURCES4 = {
  name: 'sources4',
  key: ['ifname', 'ether_source', 'ipv4_addr'],
} as const satisfies SetValue;
const SOURCES6 = {
  name: 'sources6',
  key: ['ifname', 'ether_source', 'ipv6_addr'],
} as const satisfies SetValue;
/** Whom ARP may speak for. */
const SENDERS4 = {
  name: 'senders4',
  key: ['ifname', 'ether_addr', 'ipv4_addr'],
} as const satisfies SetValue;
/** Whom neighbour advertisements may speak for. */
const TARGETS6 = { name: 'targets6', key: ['ifname', 'ether_addr', 'nd_target'] } as const satisfies SetValue;
const OPTIONS6 = { name: 'options6', key: ['ifname', 'nd_option_mac'] } as const satisfies SetValue;
/** Whom a pod's port leads to, besides `senders4`. */
const DESTINATIONS6 = {
  name: 'destinations6',
  key: ['ifname', 'ether_addr', 'ipv6_addr'],
} as const satisfies SetValue;
/** Further addresses a pod may use (virtual machines, VIPs). By MAC: nft reverses names in interval sets. */
const PREFIXES4 = {
  name: 'prefixes4',
  key: ['ether_addr', 'ipv4_addr'],
  interval: true,
} as const satisfies SetValue;
const PREFIXES6 = {
  name: 'prefixes6',
  key: ['ether_addr', 'ipv6_addr'],
  interval: true,
} as const satisfies SetValue;
const TARGET_PREFIXES6 = {
  name: 'target-prefixes6',
  key: ['ether_addr', 'nd_target'],
  interval: true,
} as const satisfies SetValue;

/**
 * The table that lets a pod on the bridge send only as itself: with its own MAC and addresses, and without
 * speaking for a router, a DHCP server or a neighbour. Ports without an element, such as other bridges' or
 * those that other plugins made, are left alone.
 *
 * The hook comes before the bridge learns a MAC, and before `br_netfilter` (priority 0). The order of the
 * rules is that of cost: a lookup costs as much as ten comparisons, so the common packet needs one. That is
 * also why rules spell out header bytes (`@nh`, `@th`) where nft would compare more.
 *
 * `policed`: policies judge by addresses whom packets are for, so that ports take none but their own pod's.
 */
export function bridgeGuard(policed: boolean): readonly Item[] {
  return [
    {
      kind: 'nft-table',
      ...TABLE,
      sets: [
        PORTS,
        MACS,
        SOURCES4,
        SOURCES6,
        SENDERS4,
        TARGETS6,
        OPTIONS6,
        PREFIXES4,
        PREFIXES6,
        TARGET_PREFIXES6,
        ...(policed ? [DESTINATIONS6] : []),
      ],
      chains: policed ? [...CHAINS, ...DELIVERY] : CHAINS,
    },
  ];
}

const CHAINS: readonly Chain[] = [
  {
    name: 'prerouting',
    hook: { type: 'filter', hook: 'prerouting', priority: 'filter' },
    rules: [
      { rule: 'iifname . @ll,48,64 . ip saddr @sources4 goto own4' },
      { rule: 'iifname . @ll,48,64 . ip6 saddr @sources6 goto own6' },
      { rule: 'iifname @ports goto other' },
    ],
  },
  {
    name: 'own4',
    rules: [
      { rule: '@nh,72,8 6 accept', comment: 'TCP' },
      { rule: '@nh,72,8 17 @th,0,16 != 67 accept', comment: 'UDP, except from a DHCP server' },
      { rule: 'udp sport 67 udp dport 68 drop', comment: 'DHCP server' },
      { rule: 'icmp type { redirect, router-advertisement } drop' },
      // Any of a router's messages (a query, RFC 4286, PIM) would lead all multicast to the port.
      { rule: 'ip protocol 2 @th,0,8 != { 0x12, 0x16, 0x17, 0x22 } drop', comment: 'IGMP: for routers' },
      { rule: 'ip protocol 103 drop', comment: 'PIM: for routers' },
    ],
  },
  {
    name: 'own6',
    rules: [
      { rule: '@nh,48,8 6 accept', comment: 'TCP' },
      { rule: '@nh,48,8 17 @th,0,16 != 547 accept', comment: 'UDP, except from a DHCPv6 server' },
      { rule: 'udp sport 547 udp dport 546 drop', comment: 'DHCPv6 server' },
      { rule: 'meta l4proto 58 goto icmp6' },
      { rule: 'meta l4proto 103 drop', comment: 'PIM: for routers' },
      { rule: 'meta l4proto != 58 accept' },
      { rule: 'drop', comment: 'malformed: has no upper layer' },
    ],
  },
  {
    // What is not listed here, such as router advertisements and redirects, is for routers.
    name: 'icmp6',
    rules: [
      {
        rule: 'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply, mld-listener-report, mld-listener-done, mld2-listener-report, nd-router-solicit } accept',
      },
      { rule: 'frag frag-off != 0 accept', comment: 'its first fragment was judged' },
      // No extension headers and one option at most: nothing the rules don't see (RFC 6980, RFC 7113).
      { rule: 'ip6 nexthdr != 58 drop' },
      { rule: 'icmpv6 type nd-neighbor-solicit ip6 length 24 accept' },
      {
        rule: 'icmpv6 type nd-neighbor-solicit ip6 length 32 @th,192,16 0x0101 iifname . @th,208,48 @options6 accept',
      },
      { rule: 'icmpv6 type nd-neighbor-advert ip6 length 24 goto target6' },
      {
        rule: 'icmpv6 type nd-neighbor-advert ip6 length 32 @th,192,16 0x0201 iifname . @th,208,48 @options6 goto target6',
      },
      { rule: 'drop' },
    ],
  },
  {
    name: 'target6',
    rules: [
      { rule: 'iifname . ether saddr . @th,64,128 @targets6 accept' },
      { rule: 'ether saddr . @th,64,128 @target-prefixes6 accept' },
      { rule: 'drop', comment: 'a neighbour’s address' },
    ],
  },
  {
    name: 'other',
    rules: [
      { rule: 'iifname . ether saddr != @macs drop', comment: 'a MAC that is not its own' },
      { rule: 'ether type arp goto arp4' },
      { rule: 'ether type ip ether saddr . ip saddr @prefixes4 goto own4' },
      { rule: 'ether type ip6 ether saddr . ip6 saddr @prefixes6 goto own6' },
      { rule: 'ether type ip6 ip6 saddr :: goto unspecified6' },
      { rule: 'drop', comment: 'a source that is not its own, a VLAN tag, another protocol' },
    ],
  },
  {
    // Duplicate address detection, and what precedes it (RFC 4862, RFC 3810 §5.2.13).
    name: 'unspecified6',
    rules: [
      { rule: 'ip6 nexthdr 58 icmpv6 type nd-neighbor-solicit goto target6' },
      { rule: 'icmpv6 type { mld-listener-report, mld2-listener-report, nd-router-solicit } accept' },
      { rule: 'drop' },
    ],
  },
  {
    name: 'arp4',
    rules: [
      { rule: 'arp htype != 1 drop' },
      { rule: 'arp ptype != ip drop' },
      { rule: 'arp hlen != 6 drop' },
      { rule: 'arp plen != 4 drop' },
      { rule: 'arp operation != { request, reply } drop' },
      { rule: 'iifname . arp saddr ether . arp saddr ip @senders4 accept' },
      { rule: 'iifname . arp saddr ether != @macs drop' },
      { rule: 'arp saddr ip 0.0.0.0 accept', comment: 'a probe (RFC 5227)' },
      { rule: 'ether saddr . arp saddr ip @prefixes4 accept' },
      { rule: 'drop', comment: 'a neighbour’s address' },
    ],
  },
];

/** Otherwise a pod could send anything to a neighbour that listens, in the name of whom it may send to. */
const DELIVERY: readonly Chain[] = [
  {
    name: 'forward',
    hook: { type: 'filter', hook: 'forward', priority: 'filter' },
    rules: [
      { rule: 'oifname . ether daddr . ip daddr @senders4 accept' },
      { rule: 'oifname . ether daddr . ip6 daddr @destinations6 accept' },
      { rule: 'oifname @ports goto delivery' },
    ],
  },
  {
    name: 'delivery',
    rules: [
      { rule: 'ether type arp accept' },
      { rule: 'ether daddr . ip daddr @prefixes4 accept' },
      { rule: 'ether daddr . ip6 daddr @prefixes6 accept' },
      { rule: 'ip daddr { 224.0.0.0/4, 255.255.255.255 } accept', comment: 'for all, or many' },
      { rule: 'ip6 daddr ff00::/8 accept' },
      { rule: 'drop', comment: 'for another than the pod' },
    ],
  },
];

/**
 * A pod's elements in the bridge's table. Its port is there whatever is known of the pod: without a MAC or an
 * address it may send nothing.
 */
export function portGuard(pod: LocalPod, policed: boolean): readonly Item[] {
  const { hostDevice: dev, mac, addresses, allowedSources = [] } = pod;
  if (dev === undefined) return [];
  const port = elementItem(TABLE, elementOf(PORTS, [dev]));
  if (mac === undefined) return [port];
  const v4 = addresses.filter((ip) => familyOf(ip) === 4);
  const v6 = addresses.filter((ip) => familyOf(ip) === 6);
  if (v6.length > 0) v6.push(linkLocalOf(mac));
  const prefixes = (family: Family) => allowedSources.filter((cidr) => familyOf(cidr) === family);
  const elements = [
    elementOf(MACS, [dev, mac]),
    elementOf(OPTIONS6, [dev, mac]),
    ...v4.flatMap((ip) => [
      elementOf(SOURCES4, [dev, { mac, type: 'ip' }, ip]),
      elementOf(SENDERS4, [dev, mac, ip]),
    ]),
    ...v6.flatMap((ip) => [
      elementOf(SOURCES6, [dev, { mac, type: 'ip6' }, ip]),
      elementOf(TARGETS6, [dev, mac, ip]),
      ...(policed ? [elementOf(DESTINATIONS6, [dev, mac, ip])] : []),
    ]),
    ...prefixes(4).map((cidr) => elementOf(PREFIXES4, [mac, cidr])),
    ...prefixes(6).flatMap((cidr) => [
      elementOf(PREFIXES6, [mac, cidr]),
      elementOf(TARGET_PREFIXES6, [mac, cidr]),
    ]),
  ];
  return [port, ...elements.map((element) => elementItem(TABLE, element))];
}
