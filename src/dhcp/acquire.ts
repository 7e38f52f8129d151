import { FlatnetError } from '../error.ts';
import { addressOf } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Log } from '../log.ts';
import { DhcpClient, noAddress } from './client.ts';
import { holderOf } from './holder.ts';
import { decline, release } from './notices.ts';
import type { Place } from './place.ts';
import type { Lease, LeaseRules } from './protocol/lease.ts';

type Acquiring = {
  /** Path of the node's network namespace. */
  readonly netns: string;
  readonly rules: LeaseRules;
  /** How much longer than usual to wait for answers. Default: 1. */
  readonly patience?: number;
  readonly signal: AbortSignal;
  /** Called with the lease, to be remembered. */
  readonly keep: (lease: Lease) => void;
  readonly log: Log;
};

/**
 * Gets an address for an interface, which is up. Throws TIMEOUT if no server gives one that can be used,
 * ADDRESS_TAKEN if somebody on the network uses it already (RFC 2131 §4.4.1). The ten seconds until another
 * may be asked for are not waited for here: whoever repeats the ADD decides, and a kubelet takes as long. A
 * lease that is not kept is given back.
 */
export async function acquire(
  place: Place,
  id: string,
  { netns, rules, patience, signal, keep, log }: Acquiring,
): Promise<Lease> {
  const { dev, mac } = place;
  const client = new DhcpClient({ netns: place.netns, dev, mac, id }, rules, patience);
  const lease = await client.acquire(signal);
  const ip = addressOf(lease.address);
  let holder: Mac | undefined;
  try {
    holder = await declineTaken(lease, place, id, { netns, signal });
    if (holder === undefined) {
      // Since the answer, another pod may have got the same.
      const owner = rules.ownerOf(ip);
      if (owner !== undefined) throw noAddress([`${ip} is ${owner}`]);
      keep(lease);
      return lease;
    }
  } catch (error) {
    release(lease, { netns, mac, id }, log);
    throw error;
  }
  throw new FlatnetError(`${ip} is used by ${holder} already, and has been declined`, {
    code: 'ADDRESS_TAKEN',
    operation: 'DHCP',
    fix: `let ${lease.server} reserve it for that machine, or take it from there; the next try gets another`,
  });
}

/** Declines an address that somebody on the network uses; returns by which MAC. Undefined: nobody does. */
export async function declineTaken(
  lease: Lease,
  place: Place,
  id: string,
  { netns, signal }: Pick<Acquiring, 'netns' | 'signal'>,
): Promise<Mac | undefined> {
  const { dev, mac } = place;
  const holder = await holderOf(addressOf(lease.address), { ...place.arpIn(netns), mac }, signal);
  if (holder !== undefined) decline(lease, { netns: place.netns, dev, mac, id });
  return holder;
}
