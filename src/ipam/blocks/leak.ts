import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Block } from '../../store/ports/blocks.ts';

/** All of a handle's allocations, identified so that addresses reassigned in the meantime are not freed. */
export type Leak = {
  readonly handle: string;
  readonly addresses: readonly { readonly ip: Ip; readonly sequence: number; readonly block: Cidr }[];
};

/** Groups the node's allocations in all of the blocks by handle. */
export function handlesOf(node: string, blocks: Iterable<Block>): Leak[] {
  const byHandle = new Map<string, Leak['addresses'][number][]>();
  for (const block of blocks) {
    for (const [ordinal, allocation] of block.allocations) {
      if (allocation.node !== node) continue;
      const addresses = byHandle.get(allocation.handle) ?? [];
      addresses.push({ ip: nthIp(block.cidr, ordinal), sequence: allocation.sequence, block: block.cidr });
      byHandle.set(allocation.handle, addresses);
    }
  }
  return [...byHandle].map(([handle, addresses]) => ({ handle, addresses }));
}
