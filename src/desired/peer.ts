import { subnetsOf } from '../backends/direct.ts';
import type { Configured } from '../backends/registry.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { overlaps } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';

export type PeerResult = { readonly items: readonly Item[]; readonly warnings: readonly string[] };

/** What one peer needs in the kernel of this node, by the families both have. */
export function peerItems(
  self: Self,
  peer: Node,
  { backend, options }: Configured,
  families: readonly Family[],
): PeerResult {
  const warn = (text: string) => `${peer.name}: ${text}`;
  if (peer.backend.type !== backend.type) {
    return {
      items: [],
      warnings: [warn(`uses backend '${peer.backend.type}', not '${backend.type}': ignored`)],
    };
  }
  const items: Item[] = [];
  const warnings: string[] = [];
  for (const family of families) {
    const stolen = subnetsOf(peer, family).find((theirs) =>
      self.node.subnets.some((ours) => overlaps(ours, theirs)),
    );
    if (stolen !== undefined) {
      warnings.push(warn(`its subnet ${stolen} overlaps this node's own: ignored in IPv${family}`));
      continue;
    }
    const result = backend.peer(self, peer, options, family);
    items.push(...result.items);
    if (result.warning !== undefined) warnings.push(warn(result.warning));
  }
  return { items, warnings };
}
