import { isLinkLocal } from '../ip/address.ts';
import { addressOf } from '../ip/cidr.ts';
import type { Item, KernelState, LinkItem } from './item.ts';

/** Who made a route: ours to pods of other nodes, which BGP may advertise. */
export const OUR_PROTOCOL = 110;
/** And ours that are local to the node. */
export const OUR_LOCAL_PROTOCOL = 111;
/** Routes and rules with these protocols are ours. */
export const OUR_PROTOCOLS: ReadonlySet<number> = new Set([OUR_PROTOCOL, OUR_LOCAL_PROTOCOL]);
/** The ifalias of a link we made begins so. */
export const OUR_ALIAS = 'flatnet';
export const OUR_TABLE = 'flatnet';

/**
 * Whether an item that the kernel holds and nobody wants is ours to remove. Everything else on the host is read, never
 * changed. What an earlier flannel left is ours only where we want the same slot: then it is set right, not removed.
 */
export function isOurs(item: Item, desired: KernelState): boolean {
  switch (item.kind) {
    case 'link':
      return item.link.type !== 'existing' && (item.alias?.startsWith(OUR_ALIAS) ?? false);
    case 'address':
      // The kernel gives and takes link-local addresses by itself.
      return isMade(linkOf(item.dev, desired)) && !isLinkLocal(addressOf(item.address));
    case 'route':
    case 'rule':
      return OUR_PROTOCOLS.has(item.protocol);
    case 'neighbour':
    case 'fdb':
      return linkOf(item.dev, desired)?.entries === 'ours';
    case 'sysctl':
      return false;
    case 'nft':
      return item.table === OUR_TABLE;
  }
}

function linkOf(name: string, state: KernelState): LinkItem | undefined {
  const item = state.get(`link ${name}`);
  return item?.kind === 'link' ? item : undefined;
}

function isMade(link: LinkItem | undefined): boolean {
  return link !== undefined && link.link.type !== 'existing';
}
