import type { Family } from '../../ip/address.ts';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../sys.ts';

/** AF_INET or AF_INET6; AF_UNSPEC, which asks for all, without a family. */
export function addressFamily(family?: Family): number {
  if (family === undefined) return AF_UNSPEC;
  return family === 4 ? AF_INET : AF_INET6;
}

/** The reverse; undefined for families other than IPv4 and IPv6. */
export function ipFamily(addressFamily: number): Family | undefined {
  if (addressFamily === AF_INET) return 4;
  return addressFamily === AF_INET6 ? 6 : undefined;
}
