import type { Node } from '../cluster/node.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { SetValue, TableId } from '../state/kinds/nft-table.ts';

const TABLE = 'flatnet-vxlan';
const NODES: Record<Family, SetValue<readonly ['ipv4_addr' | 'ipv6_addr'], undefined>> = {
  4: { name: 'nodes', key: ['ipv4_addr'] },
  6: { name: 'nodes', key: ['ipv6_addr'] },
};
/** Senders of dropped packets, written by the kernel. */
const STRANGERS: Record<Family, SetValue<readonly ['ipv4_addr' | 'ipv6_addr'], undefined>> = {
  4: { name: 'strangers', key: ['ipv4_addr'], size: 64, dynamic: { timeout: '10m' } },
  6: { name: 'strangers', key: ['ipv6_addr'], size: 64, dynamic: { timeout: '10m' } },
};

/**
 * Accepts VXLAN only from nodes, as its sender can inject packets with any source into the pod network. Nor
 * does this node lend its name. What it forwards to another node's port would pass for its own if it were
 * masqueraded on the way (a service may lead there), or were the answer of a host port: two pods can make
 * such a connection, one behind another node's masquerading that happens to pick the port.
 *
 * IPv6 meets the hook `input` before its fragments are reassembled, unless connection tracking has done so
 * first: that is why the last rule mentions it. Header bytes (`@th`) cost other packets less than names.
 */
export function vxlanTable(family: Family, port: number): Item {
  const ip = family === 4 ? 'ip' : 'ip6';
  const isOther = family === 4 ? 'ip protocol != 17 accept' : 'meta l4proto != 17 accept';
  return {
    kind: 'nft-table',
    ...tableOf(family),
    sets: [NODES[family], STRANGERS[family]],
    chains: [
      {
        name: 'receive',
        hook: { type: 'filter', hook: 'input', priority: 'filter' },
        rules: [
          { rule: isOther },
          { rule: `@th,16,16 != ${port} accept` },
          { rule: `${ip} saddr @nodes accept` },
          { rule: `update @strangers { ${ip} saddr counter }` },
          { rule: 'ct state invalid,new,established,related,untracked drop', comment: 'only nodes send it' },
        ],
      },
      {
        name: 'forward',
        hook: { type: 'filter', hook: 'forward', priority: 'filter' },
        rules: [
          { rule: isOther },
          { rule: `@th,16,16 != ${port} accept` },
          { rule: `${ip} daddr != @nodes accept` },
          { rule: `${ip} saddr @nodes accept`, comment: 'between other nodes' },
          {
            rule: 'ct direction reply ct status & dnat == 0 accept',
            comment: 'an answer that keeps its own source',
          },
          { rule: 'drop', comment: 'it would leave in this node’s name' },
        ],
      },
    ],
  };
}

/** The addresses of a node in the set of permitted senders. */
export function vxlanMember({ addresses, senders = [] }: Node, family: Family): readonly Item[] {
  const known = addresses[family] === undefined ? senders : [addresses[family], ...senders];
  return [...new Set(known)]
    .filter((ip) => familyOf(ip) === family)
    .map((ip) => elementItem(tableOf(family), elementOf(NODES[family], [ip])));
}

function tableOf(family: Family): TableId {
  return { family: family === 4 ? 'ip' : 'ip6', table: TABLE };
}
