import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { podTitle } from '../../cluster/node.ts';
import { addressOf } from '../../ip/cidr.ts';
import type { Problem } from '../../problem.ts';
import { leaseIdOf } from '../addresses/dhcp.ts';
import type { Attachment, DamagedAttachment } from '../records/attachment.ts';
import { keyIn } from '../records/files.ts';
import type { CniState } from '../state.ts';
import { interfacesOf } from '../wiring/physical/survivor.ts';
import { linkOf } from '../wiring/registry.ts';
import { leadsElsewhere, unrecordedLinks } from '../wiring/survivor.ts';
import { complete } from './complete.ts';
import { removeAttachment } from './del.ts';
import { doubts } from './doubts.ts';
import { runNotedDels } from './noted.ts';
import { keysOf, recover, recoverDamaged, unrecordedKeys } from './recover.ts';
import { isStale } from './stale.ts';

/**
 * Our own garbage collection, for runtimes that never call GC and for leftovers of crashes: deletes doomed
 * links, executes noted DELs, removes incomplete attachments and those whose pod is gone, and empty
 * reservations. Other reservations without a record of ours belong to pods created earlier by other plugins
 * and stay. Containers with a call in progress are skipped. First it rebuilds the records that are lost or
 * cannot be read of pods that run. Returns those it cannot rebuild.
 */
export async function collectGarbage(state: CniState): Promise<readonly Problem[]> {
  state.later.cancel();
  await state.sweeper.now();
  await attempt('executing noted DELs', state, () => runNotedDels(state));
  await attempt('rebuilding lost records', state, () => recoverLost(state));
  await attempt('giving back the leases of lost pods', state, () => keepLeases(state));
  const problems: Problem[] = [];
  for (const seen of state.attachments.list()) {
    // From now on, no other network assigns an address that this one holds, wherever it keeps them.
    if (seen.state !== 'damaged' && seen.dir && existsSync(seen.dir)) state.pools.in(seen.dir);
    await attempt(`collecting ${seen.containerId}`, state, async () => {
      problems.push(...(await collect(seen, state)));
    });
  }
  await attempt('removing copies of lost records', state, () => state.attachments.sweepRequests());
  for (const pool of state.pools.all()) await attempt(`sweeping ${pool.dir}`, state, () => pool.sweep());
  return problems;
}

/**
 * Removes what is left of pods that vanished with their namespace and their host devices, unless a DEL has
 * done so (containerd#8303). `devices`: those that are gone.
 */
export async function collectVanished(devices: readonly string[], state: CniState): Promise<void> {
  for (const device of devices)
    for (const record of state.attachments.onDevice(device)) await collect(record, state);
}

/** One thing that cannot be collected does not keep the others, nor the agent from starting. */
async function attempt(what: string, { context }: CniState, work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    context.warn(what, error);
  }
}

async function collect(seen: Attachment | DamagedAttachment, state: CniState): Promise<readonly Problem[]> {
  const { containerId } = seen;
  if (state.locks.isBusy(containerId)) return [];
  if (seen.state !== 'damaged' && !isStale(seen, state) && !isForeign(seen, state)) {
    keepReservations(seen, state);
    return doubts(complete(seen, state), state);
  }
  return await state.locks.run(containerId, async () => {
    // A call may have completed since the records were read.
    const record = state.attachments.readAgain(seen);
    if (record?.state === 'damaged') return collectDamaged(record, state);
    if (!record) return [];
    if (isForeign(record, state)) forget(record, state);
    else if (isStale(record, state)) await removeAttachment(record, state);
    return [];
  });
}

/**
 * Gives back the leases of attachments that no record names, unless the pod still has its interface, and
 * follows those whose own files are lost.
 */
function keepLeases(state: CniState): void {
  const { attachments, context, bootId } = state;
  const { leases } = context;
  if (!leases) return;
  const records = attachments.list();
  const ids = new Set(records.map(leaseIdOf));
  for (const { id } of leases.all())
    if (!ids.has(id) && interfacesOf(keyIn(`${id}.json`), state).length === 0) leases.release(id);
  for (const record of records) {
    if (record.state !== 'ready' || !record.dhcp || record.bootId !== bootId) continue;
    const {
      netns,
      netnsId,
      ifName,
      mac,
      addresses: [address],
    } = record;
    if (mac && address) leases.adopt({ id: leaseIdOf(record), netns, netnsId, ifName, mac }, address);
  }
}

/** Reserves again what the pod uses, in case the folder was lost: no other pod may get it. */
function keepReservations(record: Attachment, { pools, context }: CniState): void {
  const { dir, addresses, containerId } = record;
  if (!dir) return;
  const taken = pools.in(dir).restore(record, addresses.map(addressOf));
  if (taken.length === 0) return;
  const error = new Error(`${taken.join(', ')} reserved for another pod`);
  context.warn(`${containerId} uses an address twice given; recreate the pod`, error);
}

/** Keeps what the pod may still use: a record that cannot be read does not say that it is gone. */
async function collectDamaged(record: DamagedAttachment, state: CniState): Promise<readonly Problem[]> {
  switch (await recoverDamaged(record, state)) {
    case 'recovered': {
      const rebuilt = state.attachments.readAgain(record);
      return rebuilt && rebuilt.state !== 'damaged' ? doubts(rebuilt, state) : [];
    }
    case 'gone':
      await removeAttachment(record, state);
      return [];
    default: {
      const what = `the record of ${record.containerId || 'a pod'} cannot be read: ${record.reason}`;
      const fix = `delete the pod, or ${record.file} in ${state.attachments.dir} if it is gone`;
      return [
        {
          id: 'pod-record-unreadable',
          severity: 'warning',
          what,
          cause: 'it stays, with what it holds',
          fix,
        },
      ];
    }
  }
}

/** Rebuilds the records of running pods whose files are gone. */
async function recoverLost(state: CniState): Promise<void> {
  const known = state.attachments
    .list()
    .map((record) => (record.state === 'damaged' ? undefined : record.hostDevice));
  const links = unrecordedLinks(new Set(known), state);
  for (const key of [...keysOf(links, state), ...unrecordedKeys(state)]) {
    if (state.locks.isBusy(key.containerId)) continue;
    await state.locks.run(key.containerId, async () => {
      if (state.attachments.read(key)?.state !== 'ready') await recover(key, 'it was missing', state);
    });
  }
}

/** Whether a record belongs to another node, whose folder was copied. */
function isForeign(record: Attachment, state: CniState): boolean {
  const { hostDevice, chained, bootId } = record;
  if (!hostDevice || chained || bootId !== state.bootId) return false;
  return linkOf(record, state) === undefined && leadsElsewhere(record, state);
}

/**
 * Drops a copied record and the reservations copied with it; the pod and its addresses are the other node's.
 */
function forget(record: Attachment, state: CniState): void {
  const { context, attachments, pools } = state;
  const text = `the record of ${podTitle({ ...record, ...record.pod })} came from another node and was dropped`;
  context.warn(text, new Error(`${record.ifName} in ${record.netns} does not lead to this node`));
  pools.in(join(context.dataDir, record.network)).release(record);
  attachments.remove(record);
}
