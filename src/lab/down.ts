import { existsSync } from 'node:fs';
import { FlatnetError } from '../error.ts';
import { deleteNetns, listNetns, netnsId, netnsPath } from '../linux/netns.ts';
import { allProcesses, ancestors, killNow, type ProcessId } from '../linux/process.ts';
import { leaveMachine } from './machine/limits.ts';
import { namesIn, writeJson } from './record/files.ts';
import { labEnvironment, readState, requireRoot } from './record/lab.ts';
import { withLock } from './record/lock.ts';
import { labName, netnsOf } from './record/names.ts';
import { LabPaths } from './record/paths.ts';

export type DownReport = {
  /** False if nothing of this lab existed. */
  readonly existed: boolean;
  readonly processes: number;
  readonly namespaces: number;
};

/** A process may start another during a scan, so scan again, but not forever. */
const PASSES = 10;

/**
 * Removes a lab, intact or broken: its processes, namespaces and folder. With the last lab it also restores
 * this machine's limits. No part of the lab has to work. `locked`: the caller holds the lab's lock.
 */
export async function down(name: string, options: { locked?: boolean } = {}): Promise<DownReport> {
  labName(name);
  requireRoot();
  return options.locked ? remove(name) : withLock(name, () => remove(name));
}

async function remove(name: string): Promise<DownReport> {
  const paths = new LabPaths(name);
  const state = readState(name);
  if (state) writeJson(paths.state, { ...state, phase: 'stopping' });
  const nodes = [...(state?.nodes.map((node) => node.name) ?? []), ...namesIn(paths.nodes)];
  const namespaces = listNetns().filter((each) => isOfLab(each, name, nodes));
  const existed = namespaces.length > 0 || existsSync(paths.root);
  const processes = await killAll(name, namespaces);
  for (const each of namespaces) deleteNetns(each);
  await leaveMachine(name);
  return { existed: existed || processes > 0, processes, namespaces: namespaces.length };
}

/** `node<n>` and `tor<k>` count even without a record: these are the names that `up` uses. */
function isOfLab(netns: string, lab: string, nodes: readonly string[]): boolean {
  if (netns.startsWith(`${lab}.`)) return true;
  const own = ['underlay', 'router', ...nodes].map((part) => netnsOf(lab, part));
  return own.includes(netns) || new RegExp(`^${lab}-(node[1-9]|tor[0-9])[0-9]*$`).test(netns);
}

/**
 * Kills the processes the lab started and all others in its namespaces, except this command's own ancestors.
 */
async function killAll(lab: string, namespaces: readonly string[]): Promise<number> {
  const ids = new Set(namespaces.map((each) => netnsId(netnsPath(each))));
  const mark = Object.entries(labEnvironment(lab)).map(([key, value]) => `${key}=${value}`);
  const spared = ancestors();
  let killed = 0;
  for (let pass = 0; pass < PASSES; pass++) {
    const found: ProcessId[] = [];
    for (const process of allProcesses()) {
      const ours = ids.has(process.netnsId) || mark.some((each) => process.environ.includes(each));
      if (ours && !spared.has(process.pid)) found.push(process);
    }
    if (found.length === 0) return killed;
    await killNow(found);
    killed += found.length;
  }
  throw new FlatnetError('new processes keep starting in the lab', {
    code: 'TIMEOUT',
    operation: 'lab down',
    object: lab,
    fix: 'stop what starts them, then try again',
  });
}
