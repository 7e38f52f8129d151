import { type Network, refuseOverlap } from '../cluster/network.ts';
import { FlatnetError } from '../error.ts';
import { FAMILIES, ipToBigInt } from '../ip/address.ts';
import { cidrOf, parseCidr, sizeOf } from '../ip/cidr.ts';
import { UNDERLAY } from './machine/underlay-plan.ts';

/** RFC 6890: this host, loopback, link-local; RFC 5771 and 4291: multicast. */
const SPECIAL = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '::/127',
  'fe80::/10',
  'ff00::/8',
].map(parseCidr);

/**
 * Throws CONFIG_INVALID unless the network gives every one of `nodes` nodes a subnet that it can use here. Out of blocks, nodes without
 * one borrow.
 */
export function checkNetwork(network: Network, nodes: number): void {
  refuseOverlap(network, 'the underlay of the lab', UNDERLAY);
  refuseOverlap(network, 'reserved: no pod can have such an address', SPECIAL);
  if (network.addresses === 'blocks') return;
  for (const family of FAMILIES) {
    const pool = network.pools[family];
    if (!pool) continue;
    const { cidr, subnetLength, subnetMin, subnetMax } = pool;
    const size = sizeOf(cidrOf(subnetMin, subnetLength));
    const subnets = (ipToBigInt(subnetMax) - ipToBigInt(subnetMin)) / size + 1n;
    if (subnets >= nodes) continue;
    throw new FlatnetError(
      `${cidr} has ${subnets} subnets of /${subnetLength}, and there are ${nodes} nodes`,
      {
        code: 'CONFIG_INVALID',
        object: family === 4 ? 'Network' : 'IPv6Network',
        fix: 'choose a larger network or fewer nodes, or raise SubnetLen',
      },
    );
  }
}
