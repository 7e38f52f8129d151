import type { Node } from '../../cluster/node.ts';
import { isIp } from '../../ip/address.ts';
import { overlaps } from '../../ip/cidr.ts';
import type { Transaction } from '../kv/kv.ts';
import type { Placement } from '../ports/membership.ts';
import type { ClusterState } from './cluster-state.ts';
import { type Holding, keysOf, unchanged } from './holding.ts';
import type { Layout } from './layout.ts';

/** Whether a node of another store can be placed here, or is here already. */
export function obstacleTo(state: ClusterState, { name: node, subnets }: Node): Placement {
  const own = state.leases.leasesOf(node).flatMap((lease) => lease.subnets);
  const isKnown = own.length > 0 || state.leases.record(node) !== undefined;
  const isSame = own.length === subnets.length && subnets.every((subnet) => own.includes(subnet));
  if (isKnown && isSame) return { node, outcome: 'present' };
  if (isKnown) return refused(node, `it is here already, with ${own.join(', ') || 'no subnet'}`);
  for (const fact of subnets.length > 0 ? state.facts() : []) {
    if (fact.kind !== 'lease') continue;
    const taken = fact.subnets.find((other) => subnets.some((subnet) => overlaps(other, subnet)));
    if (taken === undefined) continue;
    const owner = state.leases.ownerOf(fact.kv.key);
    return refused(node, `${taken} is ${owner === undefined ? 'reserved' : `${owner}’s`} here`);
  }
  return { node, outcome: 'placed' };
}

/** The transaction that writes such a node as if its agent had joined and stopped. */
export function placement(layout: Layout, state: ClusterState, node: Node, lease: string): Transaction {
  const { subnets, ...self } = node;
  const holding: Holding = { self, subnets, instance: '' };
  const keys = [...keysOf(layout, holding)].filter(([key]) => !isFlannels(layout, node, key));
  return {
    compare: keys.map(([key]) => unchanged(key, state)),
    success: keys.map(([key, value]) => ({ op: 'put', key, value, lease })),
  };
}

/** Of a node that only flannel's lease names, by its address, nobody wrote a record. */
function isFlannels(layout: Layout, { name }: Node, key: string): boolean {
  return isIp(name) && key === layout.node(name);
}

function refused(node: string, reason: string): Placement {
  return { node, outcome: 'refused', reason };
}
