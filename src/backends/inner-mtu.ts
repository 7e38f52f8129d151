import type { Underlay } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';

/** Bytes: an interface with less has no IPv6 (RFC 8200 §5; the kernel takes the addresses away). */
export const IPV6_LEAST_MTU = 1280;

/**
 * Bytes left for a packet of the pod network after the overhead of its tunnel. One narrow way does not take
 * IPv6 from the whole node: what is too large for that way is lost (no tunnel's packet is fragmented over
 * IPv6), the rest goes.
 */
export function innerMtu(
  { mtu, pathMtu = mtu }: Pick<Underlay, 'mtu' | 'pathMtu'>,
  overhead: number,
  family: Family,
): number {
  const least = family === 6 ? Math.min(IPV6_LEAST_MTU, mtu - overhead) : 0;
  return Math.max(pathMtu - overhead, least);
}
