import { type Family, type Ip, ipFromBytes } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';
import { attributesOf, type DumpRequest, Writer } from './netlink/message.ts';

/** linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. */
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const NFGENMSG_SIZE = 4;
const CTA_TUPLE_REPLY = 2;
const CTA_TUPLE_IP = 1;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V6_SRC = 3;

/** Where tracked connections lead, behind any translation, as far as that is among these addresses. */
export function destinationDump(family: Family, among: ReadonlySet<Ip>): DumpRequest<Ip> {
  return {
    operation: 'conntrack list',
    object: `IPv${family}`,
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET,
    flags: 0,
    payload: new Writer()
      .header(NFGENMSG_SIZE, (header) => header.writeUInt8(addressFamily(family)))
      .finish(),
    decode: ({ payload }) => {
      const reply = attributesOf(payload, NFGENMSG_SIZE).get(CTA_TUPLE_REPLY);
      const addresses = reply && attributesOf(reply).get(CTA_TUPLE_IP);
      const source = addresses && attributesOf(addresses).get(family === 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC);
      const ip = source && ipFromBytes(source);
      return ip !== undefined && among.has(ip) ? ip : undefined;
    },
  };
}
