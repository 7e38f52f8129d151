import type { Family } from '../../ip/address.ts';
import type { SetValue, TableId } from '../../linux/nftables/values/table.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';

type Address = 'ipv4_addr' | 'ipv6_addr';

export const endedTableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-ended' }) as const satisfies TableId;

/**
 * Streams are TCP's connections, datagrams those of other protocols with ports, pairs those of protocols
 * without, and of whom there is no room to remember ports. Each with room of its own, so that one leaves it
 * to the others.
 */
export type Ended = 'streams' | 'datagrams' | 'pairs';

/**
 * Milliseconds for which ended connections are remembered: as long as the kernel itself takes idle ones for
 * established.
 */
export const REMEMBERED: Readonly<Record<Ended, number>> = {
  // nf_conntrack_tcp_timeout_established.
  streams: 5 * 24 * 60 * 60_000,
  // nf_conntrack_sctp_timeout_established, which is longer than UDP's.
  datagrams: 210_000,
  // nf_conntrack_generic_timeout.
  pairs: 600_000,
};

/** Whose connections to which server have been ended: client, server, protocol, the server's port. */
export function endedSet(
  of: 'streams' | 'datagrams',
  family: Family,
): SetValue<readonly [Address, Address, 'inet_proto', 'inet_service'], undefined> {
  const address = addressType(family);
  return { name: of, key: [address, address, 'inet_proto', 'inet_service'], ...limits(of) };
}

/** The same without ports. */
export function pairSet(family: Family): SetValue<readonly [Address, Address, 'inet_proto'], undefined> {
  const address = addressType(family);
  return { name: 'pairs', key: [address, address, 'inet_proto'], ...limits('pairs') };
}

/** This node's pods of which more streams have been ended than there was room for: none of theirs goes on. */
export function silencedSet(family: Family): SetValue<readonly [Address], undefined> {
  return { name: 'silenced', key: [addressType(family)], ...limits('streams') };
}

/** The most that each set remembers. */
export const MOST_REMEMBERED = 65_536;

const addressType = (family: Family): Address => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

const limits = (of: Ended): Pick<SetValue, 'size' | 'dynamic'> => ({
  size: MOST_REMEMBERED,
  dynamic: { timeout: `${REMEMBERED[of] / 1000}s` },
});

/**
 * What keeps ended connections from going on. The kernel takes a packet in the middle of a connection that it
 * does not know for the first of a new one (nf_conntrack_tcp_loose), and so a server's answer for a
 * connection to its client, which policies may allow. A table of its own, as its elements have to outlast the
 * changes of the others; before these, as what it drops must not be counted there.
 */
export function endedTable(family: Family): NftTableItem {
  const ip = family === 4 ? 'ip' : 'ip6';
  const sent = `${ip} saddr . ${ip} daddr . meta l4proto . th dport`;
  const parties = `${ip} daddr . ${ip} saddr . meta l4proto`;
  const answered = `${parties} . th sport`;
  const reset = ['saddr', 'daddr'].map((end) => `${ip} ${end} @${silencedSet(family).name}`);
  reset.push(...[sent, answered].map((each) => `${each} @${endedSet('streams', family).name}`));
  const rules = [
    { rule: 'ct state established,related accept' },
    { rule: 'tcp flags & (fin | syn | rst | ack) == syn accept', comment: 'another connection' },
    { rule: 'tcp flags rst accept', comment: 'ends it, too' },
    ...reset.map((each) => ({ rule: `meta l4proto tcp ${each} reject with tcp reset` })),
    ...(
      [
        [answered, endedSet('datagrams', family)],
        [parties, pairSet(family)],
      ] as const
    ).map(([key, { name }]) => ({
      rule: `${key} @${name} update @${name} { ${key} } drop`,
      comment: 'who goes on is remembered as long',
    })),
  ];
  // What the node answers, and what IPVS sends on, passes the latter.
  const hooks = ['forward', 'output'] as const;
  return {
    kind: 'nft-table',
    ...endedTableOf(family),
    sets: [endedSet('streams', family), endedSet('datagrams', family), pairSet(family), silencedSet(family)],
    chains: hooks.map((hook) => ({
      name: hook,
      hook: { type: 'filter', hook, priority: 'filter - 1' },
      rules,
    })),
  };
}
