import type { Removed } from '../ipam/blocks/remove-node.ts';

/** What was freed. */
export function removedText({ released, blocks, kept }: Removed): string {
  return [
    `${released.length} addresses and ${blocks.length} blocks are free again`,
    ...(kept.length ? [`kept while other nodes use addresses of them: ${kept.join(' ')}`] : []),
  ].join('\n');
}
