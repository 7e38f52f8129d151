import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { COMPANIONS } from '../companions/registry.ts';
import { type Desired, desiredState, type Facts } from '../desired/desired.ts';
import { FlatnetError } from '../error.ts';
import type { Contribution } from '../state/contributions.ts';

/** `computed`: the present state. */
type Computed = { readonly facts: Facts; readonly desired: Desired };

/**
 * Returns what a former network's backend needs as long as other nodes still use it. `nodes`: all nodes as
 * the store has them now. If the network is still that of the present state, this may lack some of them: an
 * agent that has just started computes it from the view on disk. They send through the former backend
 * nevertheless. Throws NOT_FOUND if facts are missing, or CONFIG_INVALID.
 */
export function formerNeeds(
  computed: Computed | undefined,
  network: Network,
  nodes: readonly Node[],
): readonly Contribution[] {
  const { type } = network.backend;
  const isPresent = computed?.facts.network.backend.type === type;
  if (!computed || (!isPresent && COMPANIONS.some(({ backend }) => backend === type))) {
    throw new FlatnetError('what it needs is not known', { code: 'NOT_FOUND', object: type });
  }
  const { facts, desired } = computed;
  const { contributions } = desiredState({ ...facts, network, peers: nodes });
  if (!isPresent) return contributions;
  const peers = contributions.filter(({ owner }) => owner.part === 'peer');
  return [...peers, ...desired.contributions];
}
