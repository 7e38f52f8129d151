import { familyOf, type Ip } from '../../ip/address.ts';
import type { Forwarding } from '../forwarding.ts';

/**
 * Why a node drops a tunnel's packet for its address `dst`: it has that table of nodes, and the sender is not
 * in it. Undefined if it lets it in.
 */
export function refusedByMembers(
  table: string,
  { dst }: { readonly dst: Ip },
  src: Ip | undefined,
  { sets }: Forwarding,
): string | undefined {
  const nodes = sets.get(`${familyOf(dst) === 4 ? 'ip' : 'ip6'} ${table} nodes`);
  return nodes && (src === undefined || !nodes.has(src)) ? `${src} is not a node` : undefined;
}
