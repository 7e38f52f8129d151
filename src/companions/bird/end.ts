import { rm } from 'node:fs/promises';
import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { killNow, waitForEnd } from '../../linux/process.ts';
import { routeDelete } from '../../linux/route.ts';
import type { Log } from '../../log.ts';
import { withoutSessions } from './configuration/text.ts';
import type { BirdControl } from './daemon/control.ts';
import { BirdFiles } from './daemon/files.ts';
import { adoptBird, runningBird } from './daemon/process.ts';
import { kernelRoutesOfBird } from './kernel-routes.ts';

/** Milliseconds BIRD may take to withdraw everything, and then to end. */
const PATIENCE = 5000;

/**
 * Ends this node's BIRD for good, unlike `Bird.stop`: it says goodbye to its peers, so that they drop this
 * node's routes, takes its own routes out of the kernel, ends, and its files go. Other ways for the packets
 * must be there already.
 */
export async function endBird(folder: string, log: Log): Promise<void> {
  const files = new BirdFiles(folder);
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  const id = runningBird(files);
  const connected = await adoptBird(files);
  if (connected) {
    using control = connected.control;
    try {
      await withdraw(control, files, netlink);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'BIRD does not withdraw its routes');
    }
  }
  if (id && !(await waitForEnd(id, PATIENCE))) await killNow([id]);
  // Of a BIRD that was killed. Nobody else's: a node has one BIRD (docs/node.md).
  const left = await kernelRoutesOfBird(netlink);
  await netlink.execute(left.map(routeDelete));
  await rm(folder, { recursive: true, force: true });
  log.info({ left: left.length }, 'BIRD has ended');
}

/** BIRD without a session has nothing that it could export to the kernel. */
async function withdraw(control: BirdControl, files: BirdFiles, netlink: NetlinkSocket): Promise<void> {
  const config = (await files.readConfig()) ?? '';
  await files.accept(await files.propose(withoutSessions(config)));
  await control.request(`configure "${files.config}"`);
  const deadline = performance.now() + PATIENCE;
  while ((await kernelRoutesOfBird(netlink)).length > 0 && performance.now() < deadline) await pause(20);
  await control.request('down');
}
