import type { Self } from '../../src/cluster/node.ts';
import { macFromSeed } from '../../src/ip/mac.ts';

/** A node's MACs, which are random outside tests. */
export function tunnelMacsOf(node: string): Self['tunnelMacs'] {
  return { 4: macFromSeed(`${node} vxlan 4`), 6: macFromSeed(`${node} vxlan 6`) };
}
