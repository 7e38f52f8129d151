import type { Underlay } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';

/**
 * Bytes. An interface with a smaller MTU cannot have IPv6 (RFC 8200 §5): the kernel removes its addresses.
 */
export const IPV6_LEAST_MTU = 1280;

/**
 * Returns the bytes left for a pod network packet after the tunnel's overhead. One narrow path does not cost
 * the whole node its IPv6: packets too large for that path are lost (tunnels never fragment over IPv6), all
 * others get through.
 */
export function innerMtu(
  { mtu, pathMtu = mtu }: Pick<Underlay, 'mtu' | 'pathMtu'>,
  overhead: number,
  family: Family,
): number {
  const least = family === 6 ? Math.min(IPV6_LEAST_MTU, mtu - overhead) : 0;
  return Math.max(pathMtu - overhead, least);
}
