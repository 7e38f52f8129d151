import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import type { SetValue } from '../state/kinds/nft-table.ts';

/** How many destinations that it has not talked to lately a source may reach through the tunnel. */
const LIMIT = 'limit rate over 20/second burst 100 packets';

/**
 * Keeps a pod that scans the pod network from filling the node's neighbour table: on demand, each destination
 * takes an entry, at first an unresolved one, and the kernel's limit (gc_thresh3, 1024 by default) holds for
 * all devices together. It makes room only for what is older than five seconds.
 */
export function scanLimit(dev: string, family: Family): Item {
  const [name, ip] = family === 4 ? (['ip', 'ipv4_addr'] as const) : (['ip6', 'ipv6_addr'] as const);
  const pair = `${name} saddr . ${name} daddr`;
  const talks: SetValue = { name: 'talks', key: [ip, ip], size: 65_536, dynamic: { timeout: '1m' } };
  const sources: SetValue = { name: 'sources', key: [ip], size: 4096, dynamic: { timeout: '1m' } };
  return {
    kind: 'nft-table',
    family: name,
    table: 'flatnet-scans',
    sets: [talks, sources],
    chains: [
      {
        name: 'forward',
        hook: { type: 'filter', hook: 'forward', priority: 'filter' },
        rules: [
          { rule: `oifname != "${dev}" accept` },
          { rule: `${pair} @talks update @talks { ${pair} } accept` },
          { rule: `update @sources { ${name} saddr ${LIMIT} } drop`, comment: 'a scan' },
          { rule: `update @talks { ${pair} }` },
        ],
      },
    ],
  };
}
