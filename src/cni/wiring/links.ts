import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';
import { type Link, linkGet, linkSet } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Attachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { PodNetns } from './pod-netns.ts';
import { DOOMED } from './sweep.ts';

/**
 * Milliseconds. The kernel takes one, or up to a second after a burst of changes (linkwatch_schedule_work).
 */
const CARRIER_PATIENCE = 3000;
const LONGEST_PAUSE = 20;

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
 * keeps the port closed and a veth drops what it is given. Throws CniError 11 after 3 seconds.
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
 * Runs `make`, which makes a pair. If either name belongs to a link that waits to be swept after a DEL,
 * sweeps and makes it again; `evict` dooms whatever else holds the host device's name wrongly. Throws
 * CniError 999 in the reference plugins' words if a name is taken.
 */
export async function makePair(
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

/** Takes a link out of service at once and has it deleted soon. */
export function doom(link: Link | undefined, state: CniState): void {
  if (link?.kind !== 'veth') return;
  if (link.group !== DOOMED) {
    // It stays a port of its bridge, which drops the port's MACs when it goes down (br_stp_disable_port).
    // Leaving the bridge would wait for RCU (netdev_rx_handler_unregister).
    const answers = state.link.executeAllSync(linkSet(link.index, { up: false, group: DOOMED }));
    // The kernel may be taking it apart with the pod's namespace at this moment.
    const error = answers.find((answer) => answer && answer.errno !== 'ENODEV');
    if (error) throw error;
  }
  state.sweeper.soon(link.name);
}

/** The host's end of a veth whose other end is a pod's interface. */
export function farEnd(at: Pick<Attachment, 'netns' | 'ifName'>, state: CniState): Link | undefined {
  using netns = PodNetns.tryOpen(at.netns, state.netns);
  if (!netns) return undefined;
  const inside = findLink(netns.link, at.ifName);
  if (inside?.kind !== 'veth' || !inside.linkIndex) return undefined;
  const outside = findLink(state.link, inside.linkIndex);
  return outside?.kind === 'veth' && outside.linkIndex === inside.index ? outside : undefined;
}
