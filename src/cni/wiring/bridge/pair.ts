import { hash } from 'node:crypto';
import { addressOf, type Prefixed } from '../../../ip/cidr.ts';
import type { Mac } from '../../../ip/mac.ts';
import { linkAdd } from '../../../linux/link/change.ts';
import type { Link } from '../../../linux/link/link.ts';
import { NUD_STALE, neighbourReplace } from '../../../linux/neighbour.ts';
import type { Request } from '../../../linux/netlink/message.ts';
import { portMac } from '../../../wiring/pod-device.ts';
import type { AttachmentKey } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { createPair, QUEUES } from '../links.ts';
import type { PodNetns } from '../pod-netns.ts';

/** Specification of a pod's veth. */
export type Pair = {
  readonly hostDevice: string;
  readonly ifName: string;
  readonly netns: PodNetns;
  readonly bridge: Link;
  /** Bytes. */
  readonly mtu: number;
  readonly mac: Mac;
  readonly hairpin: boolean;
  readonly alias: string;
  readonly addresses: readonly Prefixed[];
};

/** The same name at every try, so that leftovers of a crash are found. */
export function hostDeviceName({ network, containerId, ifName }: AttachmentKey): string {
  return `veth${hash('sha256', `${network}\0${containerId}\0${ifName}`).slice(0, 11)}`;
}

/** Creates the pair and returns the MAC of the host end. */
export async function addPair(pair: Pair, state: CniState): Promise<Mac> {
  const hostMac = portMac(pair.hostDevice);
  await createPair(pair, state, () => state.link.executeSync(requests(pair, hostMac)));
  return hostMac;
}

/**
 * One end in the pod's namespace, the other a port of the bridge. MACs are set on creation, so that udev
 * leaves them alone. The host gets a neighbour entry for the pod: a stale one from the address's former owner
 * would misdirect packets.
 */
function requests(pair: Pair, hostMac: Mac): Request[] {
  const { hostDevice, mtu, bridge } = pair;
  return [
    ...linkAdd({
      name: hostDevice,
      mtu,
      mac: hostMac,
      master: bridge.index,
      alias: pair.alias,
      // A bridge port needs no address of its own, and a link-local one costs duplicate address detection and
      // multicast reports.
      addrGenMode: 'none',
      queues: QUEUES,
      ...(pair.hairpin ? { port: { hairpin: true } } : {}),
      data: {
        kind: 'veth',
        peer: { name: pair.ifName, mac: pair.mac, mtu, netns: pair.netns.fd, queues: QUEUES },
      },
    }),
    ...pair.addresses.map((address) =>
      neighbourReplace({ dev: bridge.index, ip: addressOf(address), mac: pair.mac, state: NUD_STALE }),
    ),
  ];
}
