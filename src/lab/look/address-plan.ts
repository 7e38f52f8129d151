import { type BlockUsage, usage } from '../../ipam/blocks/usage.ts';
import type { Member } from '../../store/ports/membership.ts';
import { withStore } from '../machine/store.ts';
import type { Lab } from '../record/lab.ts';

/** The leases in the store, sorted by node. */
export function readLeases(lab: Lab): Promise<readonly Member[]> {
  return withStore(lab, ({ membership }) => membership.members());
}

/** Every block there is, with its owner, sorted by node. */
export async function readBlocks(lab: Lab): Promise<BlockUsage[]> {
  const snapshot = await withStore(lab, ({ blocks }) => blocks.snapshot());
  return usage(snapshot, [])
    .flatMap(({ blocks }) => blocks)
    .sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
}
