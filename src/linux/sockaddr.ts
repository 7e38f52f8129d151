import { familyOf, type Ip, ipToBytes } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';

/** Where the address begins in a struct sockaddr_in or sockaddr_in6. */
export const SOCKADDR_IP = { 4: 4, 6: 8 } as const;

/** A struct sockaddr_in or sockaddr_in6. `port`: in host order; 0 where the protocol has none. */
export function sockaddr(ip: Ip, port = 0): Buffer {
  const family = familyOf(ip);
  const address = Buffer.alloc(family === 4 ? 16 : 28);
  address.writeUInt16LE(addressFamily(family), 0);
  address.writeUInt16BE(port, 2);
  address.set(ipToBytes(ip), SOCKADDR_IP[family]);
  return address;
}
