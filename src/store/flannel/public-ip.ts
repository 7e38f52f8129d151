import { unfitAddress } from '../../cluster/lawful.ts';
import { type Family, familyOf, type Ip, parseIp } from '../../ip/address.ts';

/** flannel's IPv4 address is never null: a node without one has this value. */
export const NO_IPV4 = '0.0.0.0';

/** Reads an address at which peers reach a node; undefined for none. Throws if none can be reached there. */
export function publicIp(family: Family, text: string): Ip | undefined {
  const ip = parseIp(text);
  if (ip === NO_IPV4) return undefined;
  if (familyOf(ip) !== family) throw new Error(`must be IPv${family}, not '${ip}'`);
  const unfit = unfitAddress(ip);
  if (unfit !== undefined) throw new Error(unfit);
  return ip;
}
