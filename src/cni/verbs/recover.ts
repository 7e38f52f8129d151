import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { podTitle } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import {
  addressOf,
  contains,
  hostCidr,
  lengthOf,
  type Prefixed,
  parsePrefixed,
  prefixed,
} from '../../ip/cidr.ts';
import type { Link } from '../../linux/link/link.ts';
import {
  type Attachment,
  type AttachmentKey,
  type DamagedAttachment,
  fileName,
  keyOf,
} from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { presentMac } from '../wiring/pod-end.ts';
import { isHostEndOf, neighbourMac, survivor } from '../wiring/survivor.ts';

/** The name of the network in the agent's own conflist. */
const OUR_NETWORK = 'cbr0';

/**
 * Rebuilds a record that cannot be read. `gone`: nothing of the attachment lives any more. `unknown`: whether
 * anything does cannot be told.
 */
export function recoverDamaged(
  damaged: DamagedAttachment,
  state: CniState,
): 'recovered' | 'gone' | 'unknown' {
  if (damaged.containerId === '') return 'unknown';
  if (recover(damaged, damaged.reason, state, damaged.file)) return 'recovered';
  if (damaged.role === 'ipam') return 'unknown';
  // Another plugin may have made the interface, with addresses that we assigned.
  const delegate = state.attachments.read(keyOf(damaged, 'ipam'));
  return delegate ? 'unknown' : 'gone';
}

/** Reads a record, and rebuilds it first if it cannot be read and its pod runs. */
export function readOrRecover(
  key: AttachmentKey,
  state: CniState,
): Attachment | DamagedAttachment | undefined {
  const found = state.attachments.read(key);
  if (found?.state !== 'damaged') return found;
  return recover(found, found.reason, state, found.file) ?? found;
}

/** Rebuilds the record of an attachment that lives, and tells the agent of its pod. */
export function recover(
  { network, containerId, ifName, role }: AttachmentKey,
  reason: string,
  state: CniState,
  file?: string,
): Attachment | undefined {
  const key = { network, containerId, ifName, role };
  const dir = join(state.context.dataDir, network);
  const ips = existsSync(dir) ? state.pools.in(dir).check(key) : [];
  const reserved = ips.map((ip) => withLength(ip, state));
  const found = role === 'ipam' ? delegated(key, reserved, state) : survivor(key, reserved, state);
  if (!found) return undefined;
  const mac = role === 'interface' ? (presentMac(found) ?? neighbourMac(found, state)) : undefined;
  const isOurs = ips.length > 0 || isFromSubnets(found, state);
  const record = { ...found, dir: isOurs ? dir : '', ...(mac && { mac }) };
  state.attachments.replace({ file: file ?? fileName(key) }, record);
  const pod = localPod(record);
  const title = podTitle({ ...record, ...record.pod });
  state.context.warn(`the record of ${title} has been rebuilt from the kernel`, new Error(reason));
  if (pod) state.context.attached(pod);
  return record;
}

/** Addresses assigned for another plugin: only a DEL or GC shows that they are unused. */
function delegated(
  key: AttachmentKey,
  reserved: readonly Prefixed[],
  { bootId }: CniState,
): Attachment | undefined {
  if (reserved.length === 0) return undefined;
  return { ...key, state: 'ready', netns: '', netnsId: 0, bootId, dir: '', addresses: reserved };
}

/** The attachments that links belong to, from the reservations or else from their aliases. */
export function keysOf(links: readonly Link[], state: CniState): AttachmentKey[] {
  if (links.length === 0) return [];
  const reserved = state.pools.all().flatMap((pool) =>
    pool.list().flatMap(({ containerId, ifName }) => {
      const key = keyOf({ network: basename(pool.dir), containerId, ifName }, 'interface');
      return containerId === '' ? [] : [key];
    }),
  );
  return links.flatMap((link) => reserved.find((key) => isHostEndOf(link, key)) ?? keyIn(link.alias) ?? []);
}

/**
 * A routed pod with addresses from blocks has no reservation, but an alias: `flatnet [NAMESPACE/NAME]
 * CONTAINER IFNAME`.
 */
function keyIn(alias = ''): AttachmentKey | undefined {
  const [containerId = '', ifName = ''] = alias.split(' ').slice(1).slice(-2);
  return ifName ? keyOf({ network: OUR_NETWORK, containerId, ifName }, 'interface') : undefined;
}

/** Whether the addresses are of this node's subnets, although nothing reserves them any more. */
function isFromSubnets({ addresses }: Attachment, { context }: CniState): boolean {
  const isOurs = (ip: Ip): boolean => context.subnets.some((subnet) => contains(subnet, ip));
  return !context.assigner && addresses.some((address) => isOurs(addressOf(address)));
}

function withLength(ip: Ip, { context }: CniState): Prefixed {
  const subnet = context.subnets.find((each) => contains(each, ip));
  return subnet ? prefixed(ip, lengthOf(subnet)) : parsePrefixed(hostCidr(ip));
}
