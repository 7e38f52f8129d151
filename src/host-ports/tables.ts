import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import type { Chain, Rule, SetValue, TableId } from '../state/kinds/nft-table.ts';

/** The mark bit of the reference plugin: a packet of a connection that a host port leads to a pod. */
const MARK = 0x2000;

export const tableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-host-ports' }) as const satisfies TableId;

type Address = 'ipv4_addr' | 'ipv6_addr';
type PortMap = SetValue<readonly ['inet_proto', 'inet_service'], readonly [Address, 'inet_service']>;
type AddressMap = SetValue<
  readonly [Address, 'inet_proto', 'inet_service'],
  readonly [Address, 'inet_service']
>;
type NearSet = SetValue<readonly [Address, Address], undefined>;

const type = (family: Family): Address => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** Ports at all of the node's addresses, and where they lead. */
export const portMap = (family: Family): PortMap => ({
  name: 'ports',
  key: ['inet_proto', 'inet_service'],
  data: [type(family), 'inet_service'],
});

/** Ports at one address. */
export const addressMap = (family: Family): AddressMap => ({
  name: 'addresses',
  key: [type(family), 'inet_proto', 'inet_service'],
  data: [type(family), 'inet_service'],
});

/** Pairs of a source and the pod that would answer it past this node, or not at all. */
export const nearSet = (family: Family): NearSet => ({
  name: 'near',
  key: [type(family), type(family)],
  interval: true,
});

/** Ports that stay the node's own. */
export const OWN = {
  name: 'own',
  key: ['inet_proto', 'inet_service'],
  interval: true,
} as const satisfies SetValue;

/** Addresses of Services that the host holds: kube-proxy in IPVS mode has them all on a device. */
export const serviceSet = (family: Family): SetValue<readonly [Address], undefined> => ({
  name: 'services',
  key: [type(family)],
});

/** Networks of Services, none of whose addresses is the node's. */
export const serviceNetworkSet = (family: Family): SetValue<readonly [Address], undefined> => ({
  name: 'service-networks',
  key: [type(family)],
  interval: true,
});

/**
 * The tables that lead ports of the node to pods, without the ports: those are the pods' elements.
 *
 * The chains come after `dstnat` and `srcnat`, where kube-proxy's are: a service or node port is never
 * shadowed (CVE-2019-9946). Only packets to an address of this host are looked at (CVE-2025-67499).
 */
export function hostPortTables(families: readonly Family[]): readonly Item[] {
  return families.map((family) => ({
    kind: 'nft-table',
    ...tableOf(family),
    sets: [
      portMap(family),
      addressMap(family),
      nearSet(family),
      OWN,
      serviceSet(family),
      serviceNetworkSet(family),
    ],
    chains: [
      ...(family === 4 ? [MARTIANS] : []),
      {
        name: 'prerouting',
        hook: { type: 'nat', hook: 'prerouting', priority: 'dstnat + 5' },
        rules: [{ rule: 'fib daddr type local goto ports' }],
      },
      {
        name: 'output',
        // nft knows `dstnat` in prerouting only.
        hook: { type: 'nat', hook: 'output', priority: -95 },
        rules: [{ rule: 'fib daddr type local goto ports' }],
      },
      { name: 'ports', rules: ports(family) },
      {
        name: 'postrouting',
        // Before our masquerading, which leaves pods' traffic among themselves as it is.
        hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat + 4' },
        rules: [
          {
            rule: `meta mark & ${MARK} == ${MARK} ${ip(family)} saddr . ${ip(family)} daddr @near masquerade`,
            comment: 'the answer must come back here',
          },
        ],
      },
    ],
  }));
}

const ip = (family: Family) => (family === 4 ? 'ip' : 'ip6');

/**
 * With `route_localnet`, which 127.0.0.1 needs to lead to a pod, the kernel no longer drops these: pods and
 * neighbours could reach what listens on loopback only (CVE-2020-8558).
 */
const MARTIANS: Chain = {
  name: 'martians',
  hook: { type: 'filter', hook: 'prerouting', priority: 'raw' },
  rules: [
    { rule: 'ip daddr 127.0.0.0/8 iifname != "lo" drop', comment: 'the host’s own loopback' },
    { rule: 'ip saddr 127.0.0.0/8 iifname != "lo" drop', comment: 'the host’s own loopback' },
  ],
};

function ports(family: Family): readonly Rule[] {
  const to = `dnat ${ip(family)} addr . port to`;
  const key = 'meta l4proto . th dport';
  return [
    ...(family === 6
      ? [
          // The kernel would not take back an answer for ::1 from a device (RT6_LOOKUP_F_IFACE). It does take
          // one from ::1, for another address of the node.
          { rule: 'ip6 saddr ::1 return', comment: 'no way back from a pod' },
          { rule: 'ip6 daddr fe80::/10 return', comment: 'no way back from a pod' },
        ]
      : []),
    { rule: `${key} @own return`, comment: 'the node’s own' },
    { rule: `${ip(family)} daddr @services return`, comment: 'of Services' },
    { rule: `${ip(family)} daddr @service-networks return`, comment: 'of Services' },
    { rule: `meta mark set meta mark | ${MARK}` },
    { rule: `${to} ${ip(family)} daddr . ${key} map @addresses` },
    { rule: `${to} ${key} map @ports` },
    { rule: `meta mark set meta mark & ${hex(~MARK)}`, comment: 'not a host port' },
  ];
}

function hex(bits: number): string {
  return `0x${(bits >>> 0).toString(16)}`;
}
