import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import { familyOf } from '../ip/address.ts';
import { addressOf, contains } from '../ip/cidr.ts';
import type { Problem } from '../problem.ts';

/** Warns of a subnet of this node that the network, changed since, no longer contains. */
export function subnetsOutsideNetwork(
  { addresses, pools }: Pick<Network, 'addresses' | 'pools'>,
  { subnets }: Pick<Node, 'subnets'>,
): readonly Problem[] {
  if (addresses !== 'lease') return [];
  return subnets.flatMap((subnet): Problem[] => {
    const cidr = pools[familyOf(subnet)]?.cidr;
    if (cidr !== undefined && contains(cidr, addressOf(subnet))) return [];
    const network = cidr === undefined ? `a network without IPv${familyOf(subnet)}` : `the network ${cidr}`;
    return [
      {
        id: 'subnet-outside-network',
        severity: 'error',
        what: `this node’s subnet ${subnet} is not part of ${network}`,
        cause: 'the network was changed while it was in use',
        fix: 'restart this agent, which takes another subnet, and delete the node’s pods; or restore the network',
      },
    ];
  });
}
