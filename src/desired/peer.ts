import { subnetsOf } from '../backends/direct.ts';
import type { Configured } from '../backends/registry.ts';
import type { Node, Self } from '../cluster/node.ts';
import { sharesAddress, takenSubnet, wrongAddress } from '../cluster/peer.ts';
import type { Family } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import { excerpt, type Problem, type ProblemId } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import type { Item } from '../state/item.ts';

/**
 * Returns the items for one peer, in the families both have; none for this node itself. Anyone can claim
 * anything in the store: what is this node's or its host's is left out. `pools`: the networks of pods;
 * undefined where those live beside nodes, and no node sends to them by another.
 */
export function peerContribution(
  self: Self,
  peer: Node,
  { backend, options }: Configured,
  families: readonly Family[],
  pools: readonly Cidr[] | undefined,
): Contribution {
  const items: Item[] = [];
  const warnings: Problem[] = [];
  const warn = (id: ProblemId, text: string) =>
    // Both may contain anything that someone has written into the store.
    warnings.push({ id, severity: 'warning', what: excerpt(`${peer.name}: ${text}`, 400) });
  const contribution: Contribution = { owner: { part: 'peer', name: peer.name }, items, warnings };
  if (peer.name === self.node.name) return contribution;
  const reachable = families.filter((family) => {
    const shared = sharedAddress(self, peer, family);
    if (shared) warnings.push(shared);
    if (shared) return false;
    const refusal = wrongAddress(self, peer, family, pools ?? []);
    if (refusal !== undefined) warn('peer-address-unusable', `${refusal}: ignored in IPv${family}`);
    return refusal === undefined;
  });
  for (const family of reachable) items.push(...(backend.member?.(self, peer, options, family) ?? []));
  if (peer.backend.type !== backend.type && !backend.alsoNamed?.includes(peer.backend.type)) {
    warn('peer-has-another-backend', `uses backend '${peer.backend.type}', not '${backend.type}': ignored`);
    return contribution;
  }
  for (const family of reachable) {
    const subnets = subnetsOf(peer, family).filter((subnet) => {
      if (!pools) return true;
      const refusal = takenSubnet(self, subnet);
      if (refusal !== undefined)
        warn('peer-subnet-overlaps', `its subnet ${subnet} overlaps ${refusal}: ignored`);
      return refusal === undefined;
    });
    const result = backend.peer(self, { ...peer, subnets }, options, family);
    items.push(...result.items);
    if (result.warning !== undefined) warn('peer-unreachable', result.warning);
  }
  return contribution;
}

function sharedAddress(self: Self, peer: Node, family: Family): Problem | undefined {
  if (!sharesAddress(self, peer, family)) return undefined;
  const address = peer.addresses[family];
  return {
    id: 'public-address-shared',
    severity: 'error',
    what: `${peer.name} publishes this node’s public address ${address}: ignored in IPv${family}`,
    cause: 'other nodes send the packets for both to one of them',
    fix: `give each node its own address or publicIp; if it is gone: flatnet forget ${peer.name}`,
  };
}
