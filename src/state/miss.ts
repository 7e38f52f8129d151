import type { Ip } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import type { FdbItem, NeighbourItem } from './item.ts';

/** What the kernel asks on a device with `onDemand`: the MAC of an address (L3 miss), or the node behind a MAC (L2). */
export type Miss = { readonly ip: Ip } | { readonly mac: Mac };

/** The entries that answer a miss; empty when nobody has the address or MAC. */
export type Resolve = (miss: Miss) => readonly (NeighbourItem | FdbItem)[];
