import { rm } from 'node:fs/promises';
import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { routeDelete } from '../../linux/route.ts';
import type { Log } from '../../log.ts';
import { withoutSessions } from './configuration/text.ts';
import type { BirdControl } from './daemon/control.ts';
import { BirdFiles } from './daemon/files.ts';
import { hostOf } from './daemon/hosts.ts';
import { adoptBird, birdEnds, dismissBird } from './daemon/process.ts';
import { kernelRoutesOfBird } from './kernel/routes-of-bird.ts';

/** Time BIRD gets to withdraw its routes, and again to exit, in milliseconds. */
const TIMEOUT = 5000;

/**
 * Ends this node's BIRD for good, unlike `Bird.stop`: BIRD closes its sessions, so that the peers drop this
 * node's routes, removes its routes from the kernel and exits; then its files are deleted. Other routes for
 * the traffic must already be in place.
 */
export async function endBird(folder: string, holder: string | undefined, log: Log): Promise<void> {
  const files = new BirdFiles(folder);
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  const host = hostOf(files, { program: 'bird', holder });
  const connected = await adoptBird(files, host);
  if (!connected) await dismissBird(files);
  else {
    using control = connected.control;
    try {
      await withdraw(control, files, netlink);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'BIRD does not withdraw its routes; deleting them');
    }
  }
  if (!(await birdEnds(host, TIMEOUT))) await host.kill();
  await host.endOthers();
  // Left by a killed BIRD. They can't be foreign: a node has one BIRD (docs/node.md).
  const left = await kernelRoutesOfBird(netlink);
  await netlink.execute(left.map(routeDelete));
  await rm(folder, { recursive: true, force: true });
  log.info({ left: left.length }, 'BIRD has ended');
}

/** Withdraws all kernel routes: BIRD without sessions has nothing to export. */
async function withdraw(control: BirdControl, files: BirdFiles, netlink: NetlinkSocket): Promise<void> {
  const config = (await files.readConfig()) ?? '';
  await files.accept(await files.propose(withoutSessions(config)));
  await control.request(`configure "${files.config}"`);
  const deadline = performance.now() + TIMEOUT;
  while ((await kernelRoutesOfBird(netlink)).length > 0 && performance.now() < deadline) await pause(20);
  await control.request('down');
}
