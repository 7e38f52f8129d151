import type { Family } from '../../ip/address.ts';
import { addressFamily } from '../netlink/family.ts';
import { Writer } from '../netlink/message.ts';

/** linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. */
const NFNL_SUBSYS_CTNETLINK = 1;
export const CT_GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1;
export const CT_DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 2;
export const NFGENMSG_SIZE = 4;
export const CTA_TUPLE_ORIG = 1;
export const CTA_TUPLE_REPLY = 2;
export const CTA_ID = 12;
export const CTA_TUPLE_MASTER = 14;
export const CTA_ZONE = 18;
export const CTA_FILTER = 25;
export const CTA_TUPLE_IP = 1;
export const CTA_TUPLE_PROTO = 2;
export const CTA_PROTO_NUM = 1;
export const CTA_PROTO_SRC_PORT = 2;
export const CTA_PROTO_DST_PORT = 3;
/** Of ICMP; three more for ICMPv6. */
export const CTA_PROTO_ICMP_TYPE = 5;
export const CTA_PROTO_ICMP_CODE = 6;
export const CTA_FILTER_ORIG_FLAGS = 1;
export const CTA_FILTER_REPLY_FLAGS = 2;
/** net/netfilter/nf_internals.h. */
export const CTA_FILTER_F_CTA_IP_SRC = 1 << 0;
export const CTA_FILTER_F_CTA_PROTO_NUM = 1 << 3;
export const CTA_FILTER_F_CTA_PROTO_DST_PORT = 1 << 5;

/** A writer with the nfnetlink header. */
export function conntrackWriter(family: Family): Writer {
  return new Writer().header(NFGENMSG_SIZE, (header) => {
    header[0] = addressFamily(family);
  });
}

/** CTA_IP_V4_SRC and _DST, or CTA_IP_V6_SRC and _DST. */
export function addressTypes(family: Family): readonly [src: number, dst: number] {
  return family === 4 ? [1, 2] : [3, 4];
}
