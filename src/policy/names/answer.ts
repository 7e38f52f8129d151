import { type Ip, isLinkLocal } from '../../ip/address.ts';
import { type Cidr, contains, parseCidr } from '../../ip/cidr.ts';
import { readResponse } from './message.ts';

/** The most aliases from a name to its addresses. */
const LONGEST_CHAIN = 16;

/** Which addresses a name has, and for how many seconds. */
export type Answer = {
  readonly name: string;
  readonly addresses: readonly { readonly ip: Ip; readonly ttl: number }[];
};

/**
 * Reads the addresses that a DNS response gives for the name that was asked for, if that is wanted, also by
 * aliases (CNAME) in the same response. Undefined if there are none. What it says of other names is not
 * believed: it was not asked for, and who owns one name must not open the way to addresses by saying
 * something of another.
 */
export function readAnswer(message: Uint8Array, isWanted: (name: string) => boolean): Answer | undefined {
  const response = readResponse(message, isWanted);
  if (!response) return undefined;
  let [owner, longest] = [response.name, Number.POSITIVE_INFINITY];
  for (let i = 0; i < LONGEST_CHAIN; i++) {
    const own = response.records.filter((record) => record.owner === owner);
    const addresses = own.flatMap((record) =>
      record.type === 'address' && isBelievable(record.ip)
        ? [{ ip: record.ip, ttl: Math.min(record.ttl, longest) }]
        : [],
    );
    if (addresses.length > 0) return { name: response.name, addresses };
    const alias = own.find(({ type }) => type === 'alias');
    if (alias?.type !== 'alias') return undefined;
    owner = alias.target;
    longest = Math.min(longest, alias.ttl);
  }
  return undefined;
}

/**
 * This host, none at all, all hosts, and IPv4 addresses in IPv6's clothes. No name stands for these, but its
 * owner could have them opened by saying so, as link-local addresses, where clouds hand out credentials.
 */
const UNBELIEVABLE: readonly Cidr[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '224.0.0.0/3',
  '::/96',
  '::ffff:0:0/96',
  'ff00::/8',
].map(parseCidr);

function isBelievable(ip: Ip): boolean {
  return !isLinkLocal(ip) && !UNBELIEVABLE.some((net) => contains(net, ip));
}
