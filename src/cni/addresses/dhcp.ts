import type { PerFamily } from '../../cluster/node.ts';
import { type ErrorCode, FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { netnsId } from '../../linux/netns.ts';
import { CniError, CODE } from '../protocol/error.ts';
import { type AttachmentKey, type DamagedAttachment, fileName, keyOf } from '../records/attachment.ts';
import type { AddressSource } from './source.ts';

/** What another ADD may overcome. */
const AGAIN: readonly ErrorCode[] = ['ADDRESS_TAKEN', 'TIMEOUT'];

/**
 * Addresses from the DHCP server of the physical network. The pod's interface must be up. `gateways`: what
 * counts instead of what the server says.
 */
export function dhcp(gateways: PerFamily<Ip>): AddressSource {
  return {
    heldBy: () => ({ dir: '', dhcp: true }),
    async take(call, { context }) {
      const { leases } = context;
      if (!leases)
        throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', 'it has no DHCP client');
      const { netns, ifName } = call;
      const id = leaseIdOf(keyOf(call, 'interface'));
      try {
        const lease = await leases.acquire({ id, netns, netnsId: netnsId(netns), ifName });
        const { address, dns, domain, gateway = undefined } = lease;
        const via = gateways[4] ?? gateway;
        return {
          ips: [{ address, ...(via !== undefined && { gateway: via }) }],
          borrowed: [],
          routes: [],
          dns: { ...(dns.length > 0 && { nameservers: dns }), ...(domain !== undefined && { domain }) },
        };
      } catch (error) {
        if (!(error instanceof FlatnetError) || !AGAIN.includes(error.code)) throw error;
        throw new CniError(CODE.TRY_AGAIN, error.message, '', error);
      }
    },
  };
}

/** What an attachment's lease is known by: its record's file, which a damaged one has, too. */
export function leaseIdOf(key: AttachmentKey | DamagedAttachment): string {
  const file = 'file' in key ? key.file : fileName(key);
  return file.replace(/\.json$/, '');
}
