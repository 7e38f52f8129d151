import { basename, dirname, join } from 'node:path';
import { holdsSocket, listeningInodes } from '../../../linux/listening.ts';
import { netnsId } from '../../../linux/netns.ts';
import { allProcesses, argvOf, type FoundProcess, killNow, type ProcessId } from '../../../linux/process.ts';

const SELF = '/proc/self/ns/net';

/**
 * Returns the BIRDs in a network namespace that an agent has started, except `current`: one whose folder was
 * removed, or that was started by an agent with another folder. Two BIRDs would fight over the kernel's
 * routes and the port.
 */
export function straysIn(netns: string = SELF, current?: ProcessId): ProcessId[] {
  return processesIn(netns).filter(({ pid }) => pid !== current?.pid && isStartedByAgent(argvOf(pid)));
}

/**
 * Ends such BIRDs without a farewell to their peers, who keep their routes until another one takes over;
 * the kernel keeps them too. Returns whether there were any.
 */
export async function endStrays(netns: string | undefined, current?: ProcessId): Promise<boolean> {
  const strays = straysIn(netns, current);
  await killNow(strays);
  return strays.length > 0;
}

/** A program that listens on BGP's port. */
export type Listener = ProcessId & { readonly command: string };

/** Returns the programs besides `current` that listen on `port` in its network namespace. */
export function otherListeners(port: number, current: ProcessId): Listener[] {
  const inodes = listeningInodes(current.pid, port).filter((inode) => !holdsSocket(current.pid, [inode]));
  if (inodes.length === 0) return [];
  return processesIn(`/proc/${current.pid}/ns/net`)
    .filter(({ pid }) => pid !== current.pid && holdsSocket(pid, inodes))
    .map(({ pid, startTime }) => ({ pid, startTime, command: argvOf(pid).join(' ') }));
}

function processesIn(netns: string): FoundProcess[] {
  const id = netnsId(netns);
  return [...allProcesses()].filter((process) => process.netnsId === id);
}

/** Whether this is the command line of `startBird`, with whatever folder. */
function isStartedByAgent(argv: readonly string[]): boolean {
  const after = (option: string): string => argv[argv.indexOf(option) + 1] ?? '';
  const folder = dirname(after('-s'));
  return (
    argv.includes('-f') &&
    after('-s') === join(folder, 'bird.ctl') &&
    after('-P') === join(folder, 'bird.pid') &&
    dirname(after('-c')) === folder &&
    ['bird.conf', 'recovery.conf'].includes(basename(after('-c')))
  );
}
