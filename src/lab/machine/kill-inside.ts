import { existsSync } from 'node:fs';
import { netnsId } from '../../linux/netns.ts';
import { allProcesses, ancestors, killNow } from '../../linux/process.ts';

/** A process may start another during a scan, so scan again, but not forever. */
const PASSES = 10;

/**
 * Kills all processes in a namespace, except this command's own ancestors: a forgotten tcpdump would keep the
 * namespace alive. Does nothing if there is no such namespace.
 */
export async function killInside(netns: string): Promise<void> {
  if (!existsSync(netns)) return;
  const id = netnsId(netns);
  const spared = ancestors();
  for (let pass = 0; pass < PASSES; pass++) {
    const found = [...allProcesses()].filter((each) => each.netnsId === id && !spared.has(each.pid));
    if (found.length === 0) return;
    await killNow(found);
  }
}
