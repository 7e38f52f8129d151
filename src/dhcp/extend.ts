import { FlatnetError } from '../error.ts';
import { addressOf, cidrOf, lengthOf } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Log } from '../log.ts';
import { declineTaken } from './acquire.ts';
import { type Confirmation, DhcpClient } from './client.ts';
import { now } from './clock.ts';
import type { LeaseRecord } from './lease-file.ts';
import { openPlace } from './place.ts';
import { phaseOf } from './protocol/lease.ts';

type Asking = {
  /** Path of the node's network namespace. */
  readonly netns: string;
  readonly bootId: string;
  readonly patience?: number;
  readonly signal: AbortSignal;
  readonly log: Log;
};

/** A server gives an address back that somebody else uses by now; it has been declined. */
type Taken = { readonly holder: Mac };

/**
 * Asks for more time for a pod's address: its server, or any if that one is late, or for the address itself
 * if its time is over. Undefined if nobody answers, or the pod is gone. Throws what the kernel says.
 */
export async function askToExtend(
  record: LeaseRecord,
  { netns: node, bootId, patience, signal, log }: Asking,
): Promise<Confirmation | Taken | undefined> {
  const { id, lease, lost } = record;
  using place = record.bootId === bootId ? openPlace(record) : undefined;
  // The pod is gone; its attachment follows.
  if (!place) return undefined;
  const { netns, dev, mac } = place;
  const ip = addressOf(lease.address);
  // Whatever the network is by now: nothing but more time for this address is accepted.
  const rules = { network: cidrOf(ip, lengthOf(lease.address)), ownerOf: () => undefined };
  const client = new DhcpClient({ netns, dev, mac, id }, rules, patience);
  const phase = phaseOf(lease, now());
  if (lost || phase === 'over') {
    const answer = await client.confirm(ip, signal);
    if (!lost || answer === undefined || answer === 'refused') return answer;
    const holder = await declineTaken(answer, place, id, { netns: node, signal });
    if (holder === undefined) return answer;
    log.warn({ lease: lease.address, pod: id, holder }, 'another machine uses what was a pod’s address');
    return { holder };
  }
  if (phase !== 'rebinding') {
    try {
      return await client.renew(lease, signal);
    } catch (error) {
      // The pod may run a client of its own, or have no route to the server.
      if (!(error instanceof FlatnetError) || error.code !== 'SYSCALL') throw error;
    }
  }
  return await client.rebind(lease, signal);
}
