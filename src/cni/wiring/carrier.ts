import { setTimeout as sleep } from 'node:timers/promises';
import { linkGet } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { CniError, CODE } from '../protocol/error.ts';

/** Milliseconds. The kernel needs one at most, or up to a second when it has many links to see to (linkwatch_schedule_work). */
const PATIENCE = 3000;
const LONGEST_PAUSE = 20;

/**
 * Waits until a link that has just got its carrier carries packets too: before the kernel has noticed, a bridge keeps the port
 * closed and a veth drops what it is given.
 */
export async function untilOperational(socket: NetlinkSocket, device: string): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  for (
    let pause = 1;
    !socket.getSync(linkGet(device)).operational;
    pause = Math.min(2 * pause, LONGEST_PAUSE)
  ) {
    if (performance.now() > deadline) {
      throw new CniError(CODE.TRY_AGAIN, `${device} has had no carrier for ${PATIENCE / 1000} s`);
    }
    await sleep(pause);
  }
}
