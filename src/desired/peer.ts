import { subnetsOf } from '../backends/direct.ts';
import type { Configured } from '../backends/registry.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { overlaps } from '../ip/cidr.ts';
import type { Problem, ProblemId } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import type { Item } from '../state/item.ts';

/** Returns the items for one peer, in the families both have; none for this node itself. */
export function peerContribution(
  self: Self,
  peer: Node,
  { backend, options }: Configured,
  families: readonly Family[],
): Contribution {
  const items: Item[] = [];
  const warnings: Problem[] = [];
  const warn = (id: ProblemId, text: string) =>
    warnings.push({ id, severity: 'warning', what: `${peer.name}: ${text}` });
  const contribution: Contribution = { owner: { part: 'peer', name: peer.name }, items, warnings };
  if (peer.name === self.node.name) return contribution;
  for (const family of families) items.push(...(backend.member?.(self, peer, options, family) ?? []));
  if (peer.backend.type !== backend.type) {
    warn('peer-has-another-backend', `uses backend '${peer.backend.type}', not '${backend.type}': ignored`);
    return contribution;
  }
  for (const family of families) {
    const conflicting = subnetsOf(peer, family).find((theirs) =>
      self.node.subnets.some((ours) => overlaps(ours, theirs)),
    );
    if (conflicting !== undefined) {
      warn(
        'peer-subnet-overlaps',
        `its subnet ${conflicting} overlaps this node's own: ignored in IPv${family}`,
      );
      continue;
    }
    const result = backend.peer(self, peer, options, family);
    items.push(...result.items);
    if (result.warning !== undefined) warn('peer-unreachable', result.warning);
  }
  return contribution;
}
