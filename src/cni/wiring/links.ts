import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';
import { linkSet } from '../../linux/link/change.ts';
import { type Link, linkGet } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { netnsPeerId } from '../../linux/netns-peer.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Attachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { PodNetns } from './pod-netns.ts';
import { DOOMED } from './sweep.ts';

/**
 * Milliseconds. The kernel usually takes one, but up to a second after a burst of changes
 * (linkwatch_schedule_work).
 */
const CARRIER_PATIENCE = 3000;
const LONGEST_PAUSE = 20;

/**
 * Queues of a pair's ends: as many as a veth uses by default. The kernel creates one per processor, then
 * disables all but one, and waits each time until no packet can be using them (netif_set_real_num_tx_queues).
 * `ethtool -L` can't add any later.
 */
export const QUEUES = 1;

/** Undefined if there is no such link. */
export function findLink(socket: NetlinkSocket, dev: string | number): Link | undefined {
  try {
    return socket.getSync(linkGet(dev));
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'ENODEV') return undefined;
    throw error;
  }
}

/**
 * Waits until a link that has just gained its carrier passes packets: until the kernel notices, a bridge
 * keeps the port closed and a veth drops all packets. Throws CniError 11 after 3 seconds.
 */
export async function untilOperational(socket: NetlinkSocket, dev: string | number): Promise<void> {
  const deadline = performance.now() + CARRIER_PATIENCE;
  for (let wait = 1; !socket.getSync(linkGet(dev)).operational; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
    if (performance.now() > deadline) {
      throw new CniError(CODE.TRY_AGAIN, `${dev} has had no carrier for ${CARRIER_PATIENCE / 1000} s`);
    }
    await pause(wait);
  }
}

/**
 * Runs `make`, which creates a pair. If a name belongs to a link waiting to be swept after a DEL, sweeps and
 * retries; `evict` dooms any other link that wrongly has the host device's name. Throws CniError 999 with the
 * reference plugins' message if a name is taken.
 */
export async function createPair(
  { ifName, hostDevice }: { readonly ifName: string; readonly hostDevice: string },
  state: CniState,
  make: () => void,
  evict?: () => void,
): Promise<void> {
  if (state.sweeper.has(hostDevice)) await state.sweeper.now();
  try {
    return make();
  } catch (error) {
    if (!isTaken(error)) throw error;
  }
  evict?.();
  await state.sweeper.now();
  try {
    make();
  } catch (error) {
    if (!isTaken(error)) throw error;
    const text = `container veth name (${ifName}) peer provided (${hostDevice}) already exists`;
    throw new CniError(CODE.INTERNAL, text, '', error);
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof FlatnetError && error.errno === 'EEXIST';
}

/** Takes a link out of service immediately and schedules its deletion. */
export function doom(link: Link | undefined, state: CniState): void {
  if (link?.kind !== 'veth') return;
  if (link.group !== DOOMED) {
    // It remains a port of its bridge, which flushes the port's MACs when it goes down (br_stp_disable_port).
    // Leaving the bridge would wait for RCU (netdev_rx_handler_unregister).
    const answers = state.link.executeAllSync(linkSet(link.index, { up: false, group: DOOMED }));
    // The kernel may be deleting it together with the pod's namespace.
    const error = answers.find((answer) => answer && answer.errno !== 'ENODEV');
    if (error) throw error;
  }
  state.sweeper.soon(link.name);
}

/**
 * Returns the host end of a veth whose other end is a pod's interface. `netnsId`: the inode that the path
 * must have, if known.
 */
export function hostEndOf(
  at: Pick<Attachment, 'netns' | 'ifName'> & { readonly netnsId?: number },
  state: CniState,
): Link | undefined {
  using netns =
    at.netnsId === undefined
      ? PodNetns.tryOpen(at.netns, state.netns)
      : PodNetns.tryOpenKnown(at, state.netns);
  if (!netns) return undefined;
  const inside = findLink(netns.link, at.ifName);
  if (inside?.kind !== 'veth' || !inside.linkIndex) return undefined;
  const outside = findLink(state.link, inside.linkIndex);
  if (outside?.kind !== 'veth' || outside.linkIndex !== inside.index) return undefined;
  // Indices are of a namespace: a pod may make a veth of its own with those of another pod's.
  return state.link.getSync(netnsPeerId(netns.fd)) === outside.netnsId ? outside : undefined;
}
