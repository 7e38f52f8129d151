import type { Family } from '../../ip/address.ts';

/** linux/socket.h. */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;

/** Returns AF_INET or AF_INET6, or AF_UNSPEC (all families) if none is given. */
export function addressFamily(family?: Family): number {
  if (family === undefined) return AF_UNSPEC;
  return family === 4 ? AF_INET : AF_INET6;
}

/** The inverse of `addressFamily`; undefined for families other than IPv4 and IPv6. */
export function ipFamily(addressFamily: number): Family | undefined {
  if (addressFamily === AF_INET) return 4;
  return addressFamily === AF_INET6 ? 6 : undefined;
}
