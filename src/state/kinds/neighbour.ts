import type { Ip } from '../../ip/address.ts';
import type { Mac } from '../../ip/mac.ts';
import {
  type Neighbour,
  NUD_PERMANENT,
  neighbourDelete,
  neighbourDump,
  neighbourReplace,
} from '../../linux/neighbour.ts';
import { equal } from '../kind.ts';
import { contradictedKey, itemsOf, type NameOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';
import { isReaddressed, linkIn, ownDevices } from './link/link.ts';

/** A permanent neighbour entry: the MAC of an address on a device. */
export type NeighbourItem = {
  readonly kind: 'neighbour';
  readonly dev: string;
  readonly ip: Ip;
  readonly mac: Mac;
};

export const neighbour: RtnetlinkKind<NeighbourItem> = {
  kind: 'neighbour',
  executor: 'rtnetlink',
  key: ({ dev, ip }) => `neighbour ${dev} ${ip}`,
  device: ({ dev }) => dev,
  // Its MAC must be in the FDB first.
  stage: () => 'neighbours',
  isOurs: ({ dev }, desired) => linkIn(desired, dev)?.entries === 'ours',
  same: equal,
  // When a device's MAC changes, the kernel drops its neighbours, permanent or not (neigh_changeaddr).
  isLostBy: (_item, device) => isReaddressed(device),

  dumps: (view) =>
    ownDevices(view).map((dev) => itemsOf(neighbourDump({ dev }), (value) => itemOf(value, view.nameOf))),
  requests: ({ action, item: { dev, ip, mac } }, index) => [
    action === 'delete'
      ? neighbourDelete({ dev: index(dev), ip })
      : neighbourReplace({ dev: index(dev), ip, mac }),
  ],
  contradiction: (event, { desired, nameOf }) => {
    if (event.object !== 'neighbour') return undefined;
    const { dev, ip } = event.value;
    const item = itemOf(event.value, nameOf);
    if (item) return contradictedKey(neighbour, item, event.type === 'del', desired);
    // The desired permanent entry is no longer permanent.
    const key = `neighbour ${nameOf(dev)} ${ip}`;
    return desired.has(key) ? key : undefined;
  },

  command: ({ dev, ip, mac }, action) =>
    action === 'add'
      ? `ip neigh replace ${ip} lladdr ${mac} nud permanent dev ${dev}`
      : `ip neigh del ${ip} dev ${dev}`,
  forward: ({ dev, ip, mac }, { macs }) => void macs.set(`${dev} ${ip}`, mac),
};

/** Undefined for entries that are not permanent: those are the kernel's own. */
function itemOf({ dev, ip, mac, state = 0 }: Neighbour, nameOf: NameOf): NeighbourItem | undefined {
  const name = nameOf(dev);
  if (name === undefined || mac === undefined || (state & NUD_PERMANENT) === 0) return undefined;
  return { kind: 'neighbour', dev: name, ip, mac };
}
