import type { Ip } from '../../ip/address.ts';
import type { Mac } from '../../ip/mac.ts';
import { type Fdb, fdbDelete, fdbDump, fdbReplace, NTF_SELF } from '../../linux/fdb.ts';
import { NUD_PERMANENT } from '../../linux/neighbour.ts';
import { equal } from '../kind.ts';
import { contradictedKey, itemsOf, type NameOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';
import { linkIn, ownDevices } from './link/link.ts';
import type { NeighbourItem } from './neighbour.ts';

/** An entry of a vxlan device's own table: frames to `mac` go in UDP to `dst`. */
export type FdbItem = {
  readonly kind: 'fdb';
  readonly dev: string;
  readonly mac: Mac;
  readonly dst: Ip;
};

/**
 * The kernel's request for a missing entry, on a device that resolves on demand: the MAC of an address (L3
 * miss), or the node behind a MAC (L2 miss).
 */
export type Miss = { readonly ip: Ip } | { readonly mac: Mac };

/** Returns the entries that answer a miss; none for an unknown address or MAC. */
export type Resolve = (miss: Miss) => readonly (NeighbourItem | FdbItem)[];

export const fdb: RtnetlinkKind<FdbItem> = {
  kind: 'fdb',
  executor: 'rtnetlink',
  key: ({ dev, mac }) => `fdb ${dev} ${mac}`,
  device: ({ dev }) => dev,
  stage: () => 'tunnel ends',
  isOurs: ({ dev }, desired) => linkIn(desired, dev)?.entries === 'ours',
  same: equal,

  dumps: (view) =>
    ownDevices(view).map((dev) => itemsOf(fdbDump(dev), (value) => itemOf(value, view.nameOf))),
  requests: ({ action, item: { dev, mac, dst } }, index) => {
    const entry = { dev: index(dev), mac, dst };
    return [action === 'delete' ? fdbDelete(entry) : fdbReplace(entry)];
  },
  contradiction: (event, { desired, nameOf }) => {
    if (event.object !== 'fdb') return undefined;
    const { dev, mac } = event.value;
    const item = itemOf(event.value, nameOf);
    if (item) return contradictedKey(fdb, item, event.type === 'del', desired);
    // The desired permanent entry is no longer permanent.
    const key = `fdb ${nameOf(dev)} ${mac}`;
    return desired.has(key) ? key : undefined;
  },

  command: ({ dev, mac, dst }, action) =>
    action === 'add'
      ? `bridge fdb replace ${mac} dst ${dst} self permanent dev ${dev}`
      : `bridge fdb del ${mac} dst ${dst} self dev ${dev}`,
  forward: ({ dev, mac, dst }, { ends }) => void ends.set(`${dev} ${mac}`, dst),
};

/** Undefined unless it is a permanent entry of the tunnel device itself: others are learnt. */
function itemOf({ dev, mac, dst, state = 0, flags = 0 }: Fdb, nameOf: NameOf): FdbItem | undefined {
  const name = nameOf(dev);
  if (name === undefined || dst === undefined) return undefined;
  if ((state & NUD_PERMANENT) === 0 || (flags & NTF_SELF) === 0) return undefined;
  return { kind: 'fdb', dev: name, mac, dst };
}
