import { codeOf } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import {
  type Attachment,
  type AttachmentKey,
  type DamagedAttachment,
  handleOf,
} from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { releaseHandle } from './blocks.ts';
import { reservationsDir } from './conf.ts';
import { leaseIdOf } from './dhcp.ts';

/**
 * Releases all addresses of a record. Returns false if the store is unreachable. For a damaged record, whose
 * address source is unknown, releases under both plans; the directory is that of `call`'s configuration.
 */
export async function releaseAddresses(
  record: Attachment | DamagedAttachment,
  state: CniState,
  call?: Invocation,
): Promise<boolean> {
  const { context, pools } = state;
  const damaged = record.state === 'damaged';
  const dir = damaged ? dirOf(record, state, call) : record.dir;
  if (dir) pools.in(dir).release(record);
  if (damaged || record.dhcp) context.leases?.release(leaseIdOf(record));
  const handle = damaged ? context.assigner && handleOf(record) : record.handle;
  return handle ? await releaseHandle(handle, state) : true;
}

/**
 * Throws CniError 999 if one of the attachment's addresses or, without a record, any address is not reserved.
 */
export async function checkAddresses(
  record: Attachment | undefined,
  call: Invocation,
  state: CniState,
): Promise<void> {
  if (record?.handle) return checkHandle(record.handle, record, state);
  if (record?.dhcp) return checkLease(record, state);
  if (record && record.addresses.length === 0) return;
  const held = state.pools.in(record?.dir || reservationsDir(call, state.context)).check(call);
  const missing = record?.addresses.find((address) => !held.includes(addressOf(address)));
  if (missing) throw new CniError(CODE.INTERNAL, `the reservation of ${addressOf(missing)} is gone`);
  if (held.length > 0) return;
  throw new CniError(CODE.INTERNAL, `Failed to find address added by container ${call.containerId}`);
}

function checkLease(record: Attachment, { context }: CniState): void {
  const held = context.leases?.held(leaseIdOf(record));
  const missing = record.addresses.map(addressOf).find((address) => address !== held);
  if (missing) throw new CniError(CODE.INTERNAL, `the DHCP server has not extended the lease of ${missing}`);
}

/** Passes while the store is unreachable, which is not a fault of the attachment. */
async function checkHandle(handle: string, record: Attachment, state: CniState): Promise<void> {
  const { assigner } = state.context;
  if (!assigner) return;
  let held: readonly Ip[];
  try {
    held = (await assigner.held(handle)).map(({ ip }) => ip);
  } catch (error) {
    if (codeOf(error) === 'STORE_UNAVAILABLE') return;
    throw error;
  }
  const missing = record.addresses.map(addressOf).find((address) => !held.includes(address));
  if (missing) throw new CniError(CODE.INTERNAL, `${handle} no longer holds ${missing}`);
}

function dirOf({ network }: AttachmentKey, { context }: CniState, call: Invocation | undefined): string {
  return call ? reservationsDir(call, context) : `${context.dataDir}/${network}`;
}
