import { familyOf, isLinkLocal } from '../../ip/address.ts';
import { addressOf, hostCidr, type Prefixed, parseCidr } from '../../ip/cidr.ts';
import { type Address, addressAdd, addressDelete, addressDump, IFA_F_NODAD } from '../../linux/address.ts';
import { equal } from '../kind.ts';
import {
  contradictedKey,
  type Index,
  itemsOf,
  type NameOf,
  type RtnetlinkKind,
} from '../protocols/rtnetlink.ts';
import { isCreated } from './link/item.ts';
import { linkIn } from './link/link.ts';

/** An address of a device, like `ip address replace ADDRESS dev DEV`. */
export type AddressItem = {
  readonly kind: 'address';
  readonly dev: string;
  readonly address: Prefixed;
};

export const address: RtnetlinkKind<AddressItem> = {
  kind: 'address',
  executor: 'rtnetlink',
  key: ({ dev, address }) => `address ${dev} ${address}`,
  device: ({ dev }) => dev,
  stage: () => 'addresses',
  // The kernel adds and removes link-local addresses itself.
  isOurs: ({ dev, address }, desired) => isCreated(linkIn(desired, dev)) && !isLinkLocal(addressOf(address)),
  same: equal,

  dumps: ({ nameOf }) => [itemsOf(addressDump(), (value) => itemOf(value, nameOf))],
  single: ({ dev, address }, index, nameOf) => ({
    by: 'dump',
    request: itemsOf(addressDump(familyOf(address), index(dev)), (value) => itemOf(value, nameOf)),
  }),
  requests: ({ action, item }, index) => [
    action === 'delete' ? addressDelete(rtnetlink(item, index)) : addressAdd(rtnetlink(item, index)),
  ],
  contradiction: (event, { desired, involves, nameOf }) => {
    if (event.object !== 'address') return undefined;
    const item = itemOf(event.value, nameOf);
    if (!item) return undefined;
    const key = address.key(item);
    if (isLinkLocal(addressOf(item.address)) && !desired.has(key)) return undefined;
    if (linkIn(desired, item.dev)) return contradictedKey(address, item, event.type === 'del', desired);
    // Removing an address from the underlay silently removes routes too (fib_sync_down_addr).
    return involves(item.dev) ? key : undefined;
  },

  command: ({ dev, address }, action) => {
    const nodad = action === 'add' && familyOf(address) === 6 ? ' nodad' : '';
    return `ip address ${action === 'add' ? 'replace' : 'del'} ${address} dev ${dev}${nodad}`;
  },
  forward: ({ dev, address }, { fib }, items) => {
    if (linkIn(items, dev)?.up === false) return;
    fib.push({ dst: hostCidr(addressOf(address)), metric: -1, to: 'here', dev });
    // Every address in a bridge's own network is a pod of this node.
    fib.push({ dst: parseCidr(address), metric: 0, to: 'here', dev });
  },
};

function itemOf({ dev, address }: Address, nameOf: NameOf): AddressItem | undefined {
  const name = nameOf(dev);
  return name === undefined ? undefined : { kind: 'address', dev: name, address };
}

/** Skips duplicate address detection: the address is unique, and a pod behind it must not wait a second. */
function rtnetlink({ dev, address }: AddressItem, index: Index): Address {
  return { dev: index(dev), address, flags: familyOf(address) === 6 ? IFA_F_NODAD : 0 };
}
