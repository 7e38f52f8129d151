import type { Node } from '../../../cluster/node.ts';
import { type Ip, ipFromBytes } from '../../../ip/address.ts';
import { fnv32 } from '../../../ip/fnv.ts';

/**
 * The node's BGP identifier (RFC 6286: any four bytes but zero): its IPv4 address, or a hash of its name
 * without one.
 */
export function routerId(node: Node): Ip {
  if (node.addresses[4] !== undefined) return node.addresses[4];
  const hash = fnv32(node.name) || 1;
  return ipFromBytes(Uint8Array.of(hash >>> 24, hash >>> 16, hash >>> 8, hash));
}

/**
 * Warns when another node has the same identifier: each mistakes the other's routes for its own and drops
 * them silently (RFC 4456 §8). Undefined when the identifier is unique.
 */
export function routerIdWarning(self: Node, nodes: readonly Node[]): string | undefined {
  const id = routerId(self);
  const other = nodes.find((node) => node.name !== self.name && routerId(node) === id);
  return (
    other &&
    `the BGP router id ${id} is also used by node ${other.name}: rename one, or give it an IPv4 address`
  );
}
