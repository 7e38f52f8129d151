import { basename } from 'node:path';
import { podTitle } from '../../cluster/node.ts';
import type { Link } from '../../linux/link/link.ts';
import { heldBy } from '../addresses/blocks.ts';
import {
  type Attachment,
  type AttachmentKey,
  type DamagedAttachment,
  fileName,
  handleOf,
  keyOf,
} from '../records/attachment.ts';
import { keyIn as keyInFile } from '../records/files.ts';
import { localPod } from '../records/local-pod.ts';
import { hasNoHostEnd, type Lost } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { interfacesOf } from '../wiring/physical/survivor.ts';
import { isHostEndOf, isInSight, survivor } from '../wiring/survivor.ts';
import { asAsked } from './complete.ts';
import { holdingOf, macOf, reservedFor, withLength } from './identity.ts';

/** The name of the network in the agent's own conflist. */
const OUR_NETWORK = 'cbr0';

/**
 * Rebuilds a record that cannot be read. `gone`: nothing of the attachment lives any more. `unknown`: whether
 * anything does cannot be told.
 */
export async function recoverDamaged(
  damaged: DamagedAttachment,
  state: CniState,
): Promise<'recovered' | 'gone' | 'unknown'> {
  if (damaged.containerId === '') return 'unknown';
  if (await recover(damaged, damaged.reason, state, damaged.file)) return 'recovered';
  if (damaged.role === 'ipam') return 'unknown';
  return (await mayBeInUse(damaged, state)) ? 'unknown' : 'gone';
}

/**
 * Whether another plugin may have made the interface: with addresses that we assigned, or that host-local
 * did. In our own network, no other plugin makes any, unless there is one to be seen.
 */
async function mayBeInUse(damaged: DamagedAttachment, state: CniState): Promise<boolean> {
  if (state.attachments.read(keyOf(damaged, 'ipam'))) return true;
  if (interfacesOf(damaged, state).length > 0) return true;
  const { ips } = reservedFor(damaged, state);
  if (damaged.network === OUR_NETWORK) return ips.length > 0 && isInSight(damaged, ips, state);
  if (ips.length > 0) return true;
  if (!state.context.assigner) return false;
  const held = await heldBy(handleOf(damaged), state);
  return held === undefined || held.length > 0;
}

/** Reads a record, and rebuilds it first if it cannot be read and its pod runs. */
export async function readOrRecover(
  key: AttachmentKey,
  state: CniState,
): Promise<Attachment | DamagedAttachment | undefined> {
  const found = state.attachments.read(key);
  if (found?.state !== 'damaged') return found;
  return (await recover(found, found.reason, state, found.file)) ?? found;
}

/**
 * Rebuilds the record of an attachment that lives, and tells the agent of its pod. The caller holds the
 * container's lock.
 */
export async function recover(
  { network, containerId, ifName, role }: AttachmentKey,
  reason: string,
  state: CniState,
  file?: string,
): Promise<Attachment | undefined> {
  const key = { network, containerId, ifName, role };
  const record = role === 'ipam' ? delegated(key, state) : await rebuilt(key, state);
  if (!record) return undefined;
  const title = podTitle({ ...record, ...record.pod });
  const { attachments, context } = state;
  try {
    if (record.lost) attachments.keepRequests(asAsked(record, state));
    attachments.replace({ file: file ?? fileName(key) }, record);
    context.warn(`the record of ${title} has been rebuilt from the kernel`, new Error(reason));
  } catch (error) {
    // Without space on the disk, the pod still has its network.
    context.warn(`writing the rebuilt record of ${title}`, error);
  }
  const pod = localPod(record);
  if (pod) context.attached(pod);
  return record;
}

/** Addresses assigned for another plugin: only a DEL or GC shows that they are unused. */
function delegated(key: AttachmentKey, state: CniState): Attachment | undefined {
  const { pool, ips } = reservedFor(key, state);
  if (!pool) return undefined;
  const addresses = ips.map((ip) => withLength(ip, undefined, state));
  const { bootId } = state;
  return { ...key, state: 'ready', netns: '', netnsId: 0, bootId, dir: pool.dir, addresses };
}

/** A pod's interface: settings from the kernel, the rest from what was kept apart from the record. */
async function rebuilt(key: AttachmentKey, state: CniState): Promise<Attachment | undefined> {
  const found = survivor(key, state);
  if (!found) return undefined;
  const copy = state.attachments.requestsOf(key);
  const asked = typeof copy === 'string' ? undefined : copy;
  const record = {
    ...found.record,
    ...(await holdingOf(found, state)),
    ...(asked?.pod && { pod: asked.pod }),
  };
  const mayHaveAsked = copy === 'lost' || (asked?.lost?.includes('requests') ?? false);
  const { mac, isCertain } = asked?.mac
    ? { mac: asked.mac, isCertain: !asked.lost?.includes('mac') }
    : macOf(record, { shown: found.shownMac, mayHaveAsked }, state);
  const lost: Lost[] = [
    ...(record.addresses.length === 0 && alwaysHasAddresses(record, state) ? ['addresses' as const] : []),
    ...(isCertain ? [] : ['mac' as const]),
    ...(mayHaveAsked ? ['requests' as const] : []),
  ];
  const { allowedSources, hostPorts, bandwidth } = asked ?? {};
  return {
    ...record,
    mac,
    ...(allowedSources && { allowedSources }),
    ...(hostPorts && { hostPorts }),
    ...(bandwidth && { bandwidth }),
    ...(lost.length > 0 && { lost }),
  };
}

/** Whether it always has addresses: a routed one, one on our own bridge, or one on a physical network. */
function alwaysHasAddresses(record: Attachment, { context }: CniState): boolean {
  return record.wiring === 'routed' || hasNoHostEnd(record) || record.bridge === context.bridge;
}

/**
 * The attachments of leases and reservations that no record names and whose interfaces may be on a physical
 * network: those have no link at the node that shows them.
 */
export function unrecordedKeys(state: CniState): AttachmentKey[] {
  const { leases, physical } = state.context;
  const leased = (leases?.all() ?? []).map(({ id }) => keyInFile(`${id}.json`));
  const reserved = physical ? reservedKeys(state) : [];
  const keys = new Map([...leased, ...reserved].map((key) => [fileName(key), key]));
  return [...keys.values()].filter((key) => key.containerId !== '' && !state.attachments.read(key));
}

/** The attachments that links belong to, from the reservations or else from their aliases. */
export function keysOf(links: readonly Link[], state: CniState): AttachmentKey[] {
  if (links.length === 0) return [];
  const reserved = reservedKeys(state);
  return links.flatMap((link) => reserved.find((key) => isHostEndOf(link, key)) ?? keyIn(link.alias) ?? []);
}

function reservedKeys({ pools }: CniState): AttachmentKey[] {
  return pools.all().flatMap((pool) =>
    pool.list().flatMap(({ containerId, ifName }) => {
      const key = keyOf({ network: basename(pool.dir), containerId, ifName }, 'interface');
      return containerId === '' ? [] : [key];
    }),
  );
}

/**
 * A routed pod with addresses from blocks has no reservation, but an alias: `flatnet [NAMESPACE/NAME]
 * CONTAINER IFNAME`.
 */
function keyIn(alias = ''): AttachmentKey | undefined {
  const [containerId = '', ifName = ''] = alias.split(' ').slice(1).slice(-2);
  return ifName ? keyOf({ network: OUR_NETWORK, containerId, ifName }, 'interface') : undefined;
}
