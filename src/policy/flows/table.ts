import type { Family } from '../../ip/address.ts';
import type { SetValue, TableId } from '../../linux/nftables/values/table.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';

type Address = 'ipv4_addr' | 'ipv6_addr';

export const endedTableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-ended' }) as const satisfies TableId;

/**
 * Streams (TCP) are remembered for days, and others (datagrams) for minutes: with room of their own, so that
 * one leaves it to the other.
 */
export type Ended = 'streams' | 'datagrams';

/** Whose connections to which server have been ended: client, server, protocol, the server's port. */
export function endedSet(
  of: Ended,
  family: Family,
): SetValue<readonly [Address, Address, 'inet_proto', 'inet_service'], undefined> {
  const address = addressType(family);
  return { name: of, key: [address, address, 'inet_proto', 'inet_service'], size: 65_536, dynamic: DYNAMIC };
}

/** This node's pods of which more streams have been ended than there was room for: none of theirs goes on. */
export function silencedSet(family: Family): SetValue<readonly [Address], undefined> {
  return { name: 'silenced', key: [addressType(family)], size: 65_536, dynamic: DYNAMIC };
}

const addressType = (family: Family): Address => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** As long as the kernel itself takes a UDP exchange for one (nf_conntrack_udp_timeout_stream). */
const DYNAMIC = { timeout: '2m' } as const;

/**
 * What keeps ended connections from going on. The kernel takes a packet in the middle of a connection that it
 * does not know for the first of a new one (nf_conntrack_tcp_loose), and so a server's answer for a
 * connection to its client, which policies may allow. A table of its own, as its elements have to outlast the
 * changes of the others; before these, as what it drops must not be counted there.
 */
export function endedTable(family: Family): NftTableItem {
  const ip = family === 4 ? 'ip' : 'ip6';
  const sent = `${ip} saddr . ${ip} daddr . meta l4proto . th dport`;
  const answered = `${ip} daddr . ${ip} saddr . meta l4proto . th sport`;
  const reset = ['saddr', 'daddr'].map((end) => `${ip} ${end} @${silencedSet(family).name}`);
  reset.push(...[sent, answered].map((each) => `${each} @${endedSet('streams', family).name}`));
  const rules = [
    { rule: 'ct state established,related accept' },
    { rule: 'tcp flags & (fin | syn | rst | ack) == syn accept', comment: 'another connection' },
    { rule: 'tcp flags rst accept', comment: 'ends it, too' },
    ...reset.map((each) => ({ rule: `meta l4proto tcp ${each} reject with tcp reset` })),
    { rule: `${answered} @${endedSet('datagrams', family).name} drop` },
  ];
  // What the node answers, and what IPVS sends on, passes the latter.
  const hooks = ['forward', 'output'] as const;
  return {
    kind: 'nft-table',
    ...endedTableOf(family),
    sets: [endedSet('streams', family), endedSet('datagrams', family), silencedSet(family)],
    chains: hooks.map((hook) => ({
      name: hook,
      hook: { type: 'filter', hook, priority: 'filter - 1' },
      rules,
    })),
  };
}
