import type { Underlay } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';

/**
 * Bytes. An interface with a smaller MTU cannot have IPv6 (RFC 8200 §5): the kernel removes its addresses.
 */
export const IPV6_LEAST_MTU = 1280;

/**
 * Bytes left for a packet of the pod network after the overhead of its tunnel. One narrow path does not cost
 * the whole node its IPv6: what is too large for that path is lost (tunnels never fragment over IPv6),
 * everything else gets through.
 */
export function innerMtu(
  { mtu, pathMtu = mtu }: Pick<Underlay, 'mtu' | 'pathMtu'>,
  overhead: number,
  family: Family,
): number {
  const least = family === 6 ? Math.min(IPV6_LEAST_MTU, mtu - overhead) : 0;
  return Math.max(pathMtu - overhead, least);
}
