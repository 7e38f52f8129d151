import type { Node } from '../cluster/node.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { SetValue, TableId } from '../state/kinds/nft-table.ts';
import type { Decapsulated } from './backend.ts';

/** How a tunnel's packets are told from others: by their UDP port, or by their IP protocol. */
export type TunnelPackets = {
  /** Of the backend; also names the table, `flatnet-TYPE`. */
  readonly type: string;
} & ({ readonly udp: number } | { readonly protocol: number });

const UDP = 17;
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
 * Accepts a tunnel's packets only from nodes, as their sender can inject packets with any source into the pod
 * network. Nor does this node lend its name. What it forwards to another node's tunnel would pass for its own
 * if it were masqueraded on the way (a service may lead there), or were the answer of a host port: two pods
 * can make such a connection, one behind another node's masquerading that happens to pick the port.
 *
 * IPv6 meets the hook `input` before its fragments are reassembled, unless connection tracking has done so
 * first: that is why the last rule mentions it. Header bytes (`@th`) cost other packets less than names.
 */
export function membersTable(family: Family, packets: TunnelPackets): Item {
  const ip = family === 4 ? 'ip' : 'ip6';
  const others = othersOf(family, packets).map((rule) => ({ rule }));
  return {
    kind: 'nft-table',
    ...tableOf(family, packets.type),
    sets: [NODES[family], STRANGERS[family]],
    chains: [
      {
        name: 'receive',
        hook: { type: 'filter', hook: 'input', priority: 'filter' },
        rules: [
          ...others,
          { rule: `${ip} saddr @nodes accept` },
          { rule: `update @strangers { ${ip} saddr counter }` },
          { rule: 'ct state invalid,new,established,related,untracked drop', comment: 'only nodes send it' },
        ],
      },
      {
        name: 'forward',
        hook: { type: 'filter', hook: 'forward', priority: 'filter' },
        rules: [
          ...others,
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
export function memberElements(
  { addresses, senders = [] }: Node,
  family: Family,
  { type }: Pick<TunnelPackets, 'type'>,
): readonly Item[] {
  const known = addresses[family] === undefined ? senders : [addresses[family], ...senders];
  return [...new Set(known)]
    .filter((ip) => familyOf(ip) === family)
    .map((ip) => elementItem(tableOf(family, type), elementOf(NODES[family], [ip])));
}

/** What the guard keeps pods from sending. */
export function decapsulated(packets: TunnelPackets): Decapsulated {
  return 'udp' in packets ? { udp: [packets.udp] } : { protocols: [packets.protocol] };
}

/** Rules that let everything else pass. */
function othersOf(family: Family, packets: TunnelPackets): string[] {
  const protocol = 'udp' in packets ? UDP : packets.protocol;
  const others = [family === 4 ? `ip protocol != ${protocol} accept` : `meta l4proto != ${protocol} accept`];
  if ('udp' in packets) others.push(`@th,16,16 != ${packets.udp} accept`);
  return others;
}

function tableOf(family: Family, type: string): TableId {
  return { family: family === 4 ? 'ip' : 'ip6', table: `flatnet-${type}` };
}
