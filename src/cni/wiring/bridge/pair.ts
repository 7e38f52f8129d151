import { createHash } from 'node:crypto';
import type { Ip } from '../../../ip/address.ts';
import { addressOf, type Prefixed } from '../../../ip/cidr.ts';
import { type Mac, macFromSeed } from '../../../ip/mac.ts';
import { type Link, linkAdd } from '../../../linux/link/link.ts';
import { NUD_STALE, neighbourReplace } from '../../../linux/neighbour.ts';
import type { Request } from '../../../linux/netlink/message.ts';
import type { AttachmentKey } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { makePair } from '../links.ts';
import type { PodNetns } from '../pod-netns.ts';

/** A pod's veth: what it is to be. */
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

/** The same name at every try, so that whatever a crash leaves is found. */
export function hostDeviceName({ network, containerId, ifName }: AttachmentKey): string {
  const hash = createHash('sha256').update(`${network}\0${containerId}\0${ifName}`).digest('hex');
  return `veth${hash.slice(0, 11)}`;
}

/**
 * The MAC of a pod's interface. It follows from the address: when the address goes to another pod, what the
 * host and other pods remember in their neighbour tables is right at once, and no gratuitous ARP has to tell
 * them.
 */
export function podMac(bridge: string, addresses: readonly Ip[], hostDevice: string): Mac {
  return macFromSeed(`${bridge} ${addresses[0] ?? hostDevice}`);
}

/** Makes the pair, and returns the MAC of the host's end. */
export async function addPair(pair: Pair, state: CniState): Promise<Mac> {
  const hostMac = macFromSeed(`${pair.hostDevice} host`);
  await makePair(pair, state, () => state.link.executeSync(requests(pair, hostMac)));
  return hostMac;
}

/**
 * One end in the pod's namespace, the other a port of the bridge. MACs are given at once: udev leaves those
 * alone. The host is told the pod's: what it remembers of an address's former owner would send packets
 * astray.
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
      // A bridge port needs no address of its own, and link-local ones cost duplicate detection and multicast
      // reports.
      addrGenMode: 'none',
      up: true,
      ...(pair.hairpin ? { port: { hairpin: true } } : {}),
      data: { kind: 'veth', peer: { name: pair.ifName, mac: pair.mac, mtu, netns: pair.netns.fd } },
    }),
    ...pair.addresses.map((address) =>
      neighbourReplace({ dev: bridge.index, ip: addressOf(address), mac: pair.mac, state: NUD_STALE }),
    ),
  ];
}
