import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isRouted } from '../../cluster/physical.ts';
import { familyOf, type Ip, ipCompare } from '../../ip/address.ts';
import {
  addressOf,
  type Cidr,
  cidrOf,
  contains,
  hostCidr,
  lengthOf,
  type Prefixed,
  parsePrefixed,
  prefixed,
} from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import type { HostLocal } from '../../ipam/host-local.ts';
import { belongsTo } from '../../ipam/reservation-index.ts';
import { addressDump } from '../../linux/address.ts';
import { heldBy } from '../addresses/blocks.ts';
import { leaseIdOf } from '../addresses/dhcp.ts';
import { type Attachment, type AttachmentKey, handleOf } from '../records/attachment.ts';
import { hasNoHostEnd } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { derivedMacs, strangerWithMac } from '../wiring/mac.ts';
import type { Survivor } from '../wiring/survivor.ts';

/** The addresses of an attachment, and who holds them. */
type Holding = Pick<Attachment, 'addresses' | 'dir' | 'dhcp' | 'handle' | 'borrowed'>;

/**
 * Returns the addresses of an attachment whose record is lost, from the most trustworthy source that knows
 * any: reservations, in host-local's files or in blocks; otherwise the node's own routes to it, except for
 * addresses reserved for another. What the pod's interface shows counts for nothing: a privileged pod sets it
 * as it likes.
 */
export async function holdingOf({ record, routes }: Survivor, state: CniState): Promise<Holding> {
  if (hasNoHostEnd(record)) return holdingOnPhysical(record, state);
  const isRouted = record.wiring === 'routed';
  const length = isRouted ? hostPrefixed : (ip: Ip) => withLength(ip, record.bridge, state);
  const reserved = reservedFor(record, state);
  if (reserved.pool) return { dir: reserved.pool.dir, addresses: reserved.ips.map(length) };
  if (!isRouted) return { dir: '', addresses: [] };
  const handle = state.context.assigner && handleOf(record);
  const held = handle ? await heldBy(handle, state) : undefined;
  const led = routes.filter(({ ip }) => !isReservedForOthers(ip, record, state));
  const own = held?.length ? held : led;
  const borrowed = held?.length
    ? held.filter(({ ip, borrowed, block }) => borrowed || block === hostCidr(ip))
    : led.filter(({ isAnnounced }) => isAnnounced);
  const ips = own.map(({ ip }) => ip).toSorted(ipCompare);
  return {
    dir: !handle && ips.some((ip) => isFromSubnets(ip, state)) ? defaultDir(record, state) : '',
    addresses: ips.map(hostPrefixed),
    ...(handle && { handle }),
    ...(borrowed.length > 0 && { borrowed: borrowed.map(({ ip }) => ip) }),
  };
}

/** From the file of its lease, or from reservations with the prefix length of the whole network. */
function holdingOnPhysical(record: Attachment, state: CniState): Holding {
  const { physical, leases } = state.context;
  const lease = leases?.recordOf(leaseIdOf(record))?.lease;
  if (lease) return { dir: '', dhcp: true, addresses: [lease.address] };
  const { pool, ips } = reservedFor(record, state);
  const onLink = (ip: Ip): Prefixed => {
    const network = physical && !isRouted(physical.config.mode) && physical.networks[familyOf(ip)];
    return network ? prefixed(ip, lengthOf(network)) : hostPrefixed(ip);
  };
  return { dir: pool?.dir ?? '', addresses: ips.map(onLink) };
}

/** The addresses that host-local's files reserve for an attachment, in order, and in which folder. */
export function reservedFor(
  key: AttachmentKey,
  state: CniState,
): { readonly pool?: HostLocal; readonly ips: readonly Ip[] } {
  const usual = defaultDir(key, state);
  const first = existsSync(usual) ? [state.pools.in(usual)] : [];
  // A configuration may name a folder of its own.
  const others = state.pools.all().filter(({ dir }) => dir !== usual && basename(dir) === key.network);
  for (const pool of [...first, ...others]) {
    const ips = pool.check(key);
    if (ips.length > 0) return { pool, ips: ips.toSorted(ipCompare) };
  }
  return { ips: [] };
}

/** With the prefix length of the node's subnet, or of the bridge's own network: its host trusts those. */
export function withLength(
  ip: Ip,
  bridge: string | undefined,
  { context, link: socket }: CniState,
): Prefixed {
  const device = bridge === undefined ? undefined : findLink(socket, bridge);
  const gateways = device ? socket.dumpSync(addressDump(undefined, device.index)) : [];
  const networks = [...context.subnets, ...gateways.map(({ address }) => networkOf(address))];
  const network = networks.find((each) => contains(each, ip));
  return network ? prefixed(ip, lengthOf(network)) : hostPrefixed(ip);
}

/**
 * Returns the MAC of an attachment that asked for none, and whether it is certain: the one that we gave it.
 * If it is not known whether it asked for one (`mayHaveAsked`), what its interface shows is believed unless
 * it is another's: on this node, a MAC is worth nothing without the addresses that go with it.
 */
export function macOf(
  record: Attachment,
  { shown, mayHaveAsked }: { readonly shown: Mac | undefined; readonly mayHaveAsked: boolean },
  state: CniState,
): { readonly mac: Mac; readonly isCertain: boolean } {
  const leased = record.dhcp ? state.context.leases?.recordOf(leaseIdOf(record))?.mac : undefined;
  if (leased !== undefined) return { mac: leased, isCertain: true };
  // All share that of their parent.
  if (record.wiring === 'ipvlan' && shown !== undefined) return { mac: shown, isCertain: true };
  const derived = derivedMacs({ ...record, bridge: record.bridge ?? state.context.bridge });
  const isFree = (mac: Mac): boolean => state.attachments.withMac(mac, record).length === 0;
  const ours = isFree(derived[0]) ? derived[0] : derived[1];
  if (shown !== undefined && derived.includes(shown) && isFree(shown)) return { mac: shown, isCertain: true };
  if (!mayHaveAsked) return { mac: ours, isCertain: true };
  const isOthers = shown === undefined || !isFree(shown) || strangerWithMac(shown, state) !== undefined;
  return { mac: isOthers ? ours : shown, isCertain: false };
}

function defaultDir({ network }: AttachmentKey, { context }: CniState): string {
  return join(context.dataDir, network);
}

/** A file that names nobody, such as a crash leaves, reserves for nobody. */
function isReservedForOthers(ip: Ip, key: AttachmentKey, { pools }: CniState): boolean {
  const holders = pools.all().flatMap((pool) => pool.list().filter((each) => each.ip === ip));
  return holders.some((holder) => holder.containerId !== '' && !belongsTo(holder, key));
}

/** Whether an address is of this node's subnets, whose addresses host-local's files reserve. */
function isFromSubnets(ip: Ip, { context }: CniState): boolean {
  return context.subnets.some((subnet) => contains(subnet, ip));
}

function networkOf(address: Prefixed): Cidr {
  return cidrOf(addressOf(address), lengthOf(address));
}

function hostPrefixed(ip: Ip): Prefixed {
  return parsePrefixed(hostCidr(ip));
}
