import { isDeepStrictEqual } from 'node:util';
import type { Node } from '../../cluster/node.ts';
import { overlaps } from '../../ip/cidr.ts';
import type { Placement } from '../ports/membership.ts';
import { type ClaimContext, writeNode } from './claim.ts';
import { NODES } from './kinds.ts';
import type { NodeReading } from './node/read.ts';

/** Whether a node of another store can be placed here, or is here already. */
export function obstacleTo(readings: ReadonlyMap<string, NodeReading>, node: Node): Placement {
  const { name, subnets } = node;
  const refused = (reason: string): Placement => ({ node: name, outcome: 'refused', reason });
  const reading = readings.get(name);
  if (!reading) return refused('there is no such Node; let its kubelet register it first');
  const own = reading.subnets;
  if (subnets.length > 0 && own.length > 0 && !isDeepStrictEqual(own.toSorted(), subnets.toSorted())) {
    return refused(`spec.podCIDRs of its Node is ${own.join(', ')}, which cannot be changed`);
  }
  for (const other of readings.values()) {
    const taken = other.subnets.find((cidr) => subnets.some((subnet) => overlaps(cidr, subnet)));
    if (taken !== undefined && other !== reading) return refused(`${taken} is Node ${other.name}’s here`);
  }
  const isHere = reading.published !== undefined && (subnets.length === 0 || own.length > 0);
  return { node: name, outcome: isHere ? 'present' : 'placed' };
}

/** Writes what is missing: podCIDRs, and what its agent would publish. */
export async function placeNode(
  context: Pick<ClaimContext, 'client' | 'keys'>,
  reading: NodeReading,
  { subnets, ...self }: Node,
): Promise<void> {
  const [podCIDR] = subnets;
  if (podCIDR !== undefined && reading.subnets.length === 0) {
    const spec = { podCIDR, podCIDRs: subnets };
    await context.client.patch(NODES, { name: self.name }, 'merge', { spec });
  }
  if (!reading.published) await writeNode(context, { self, subnets, instance: '' });
}
