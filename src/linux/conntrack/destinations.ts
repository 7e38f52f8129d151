import { type Family, type Ip, ipFromBytes } from '../../ip/address.ts';
import { attributesOf, type DumpRequest } from '../netlink/message.ts';
import * as ct from './message.ts';

/** Where tracked connections lead, behind any translation, as far as that is among these addresses. */
export function destinationDump(family: Family, among: ReadonlySet<Ip>): DumpRequest<Ip> {
  return {
    operation: 'conntrack list',
    object: `IPv${family}`,
    type: ct.CT_GET,
    flags: 0,
    payload: ct.conntrackWriter(family).finish(),
    decode: ({ payload }) => {
      const reply = attributesOf(payload, ct.NFGENMSG_SIZE).get(ct.CTA_TUPLE_REPLY);
      const addresses = reply && attributesOf(reply).get(ct.CTA_TUPLE_IP);
      const source = addresses && attributesOf(addresses).get(ct.addressTypes(family)[0]);
      const ip = source && ipFromBytes(source);
      return ip !== undefined && among.has(ip) ? ip : undefined;
    },
  };
}
