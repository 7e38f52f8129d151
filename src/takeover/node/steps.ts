import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pause } from '../../async/pause.ts';
import { Attachments } from '../../cni/records/attachment.ts';
import { HostLocal } from '../../ipam/host-local.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { tableDelete } from '../../linux/nftables/rule.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import { replaceFile } from '../../replace-file.ts';
import type { BackStep, NotedPod } from '../flannel/back.ts';
import type { Step } from '../flannel/plan.ts';
import type { Adoption } from '../flannel/pods.ts';
import { moveReservations, restOfAdd } from './cni-files.ts';
import { removeRules } from './flannel-rules.ts';

/** Has the agent adopt a pod; returns why it refuses, or undefined. */
export type Adopt = (pod: Adoption) => Promise<string | undefined>;

/** Takes a step towards flatnet. Returns why it is refused, or undefined. */
export async function takeStep(step: Step, adopt: Adopt): Promise<string | undefined> {
  if (step.action === 'move') return move(step);
  if (step.action === 'remove') await removeRules(step.rules);
  // The next plan knows more of it.
  else if (step.action === 'adopt' && step.pod.isNew) await untilAdded(step.pod);
  else if (step.action === 'adopt') return adopt(step.pod);
  return undefined;
}

async function untilAdded({ dir, addresses }: Adoption): Promise<void> {
  await pause(Math.max(0, ...addresses.map((ip) => restOfAdd(join(dir, ip)))));
}

function move(step: Extract<Step | BackStep, { action: 'move' }>): string | undefined {
  if (!('reservations' in step)) {
    renameSync(step.from, step.to);
    return undefined;
  }
  const { from, to } = step.reservations;
  const taken = moveReservations(from, to);
  return taken.length === 0 ? undefined : `${taken.join(', ')} reserved in ${to} for another pod`;
}

/** Takes a step back to flannel. Returns why it is refused, or undefined. */
export async function takeStepBack(step: BackStep): Promise<string | undefined> {
  if (step.action === 'move') return move(step);
  if (step.action === 'write') writeAtOnce(step.file, JSON.stringify(step.content));
  else if (step.action !== 'remove') return undefined;
  else if ('file' in step) rmSync(step.file, { force: true });
  else if ('noted' in step) free(step.noted, step.dir);
  else {
    using socket = NetlinkSocket.open(NETLINK_NETFILTER);
    await commit(socket, [tableDelete(step.table)]);
  }
  return undefined;
}

/** What the agent would do about a DEL that it has missed; the node's end has gone with the pod's. */
function free(noted: NotedPod, dir: string): void {
  if (existsSync(dir)) {
    const pool = HostLocal.open(dir, []);
    pool.release(noted);
    pool.close();
  }
  const records = new Attachments(noted.state);
  for (const record of records.list())
    if (record.containerId === noted.containerId && record.ifName === noted.ifName) records.remove(record);
  rmSync(noted.file, { force: true });
}

/** Flannel's plugin takes a file that a crash cut off for one that it must keep for ever. */
function writeAtOnce(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  replaceFile(file, text, { mode: 0o600, flush: true });
}
