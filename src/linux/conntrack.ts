import { type Family, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';
import { attributesOf, type DumpRequest, type Message, type Request, Writer } from './netlink/message.ts';

/** linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. */
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const NFGENMSG_SIZE = 4;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
/** For IPv4; two more for IPv6. */
const CTA_IP_SRC = 1;
const CTA_IP_DST = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;
/** net/netfilter/nf_internals.h: CTA_FILTER_F_CTA_PROTO_NUM and _DST_PORT. */
const BY_PROTOCOL_AND_PORT = (1 << 3) | (1 << 5);

/** Addresses and ports of one direction of a flow. */
export type Tuple = {
  readonly src: Ip;
  readonly dst: Ip;
  readonly protocol: number;
  readonly sport: number;
  readonly dport: number;
};

/** A tracked connection. Where addresses are translated, the reply is not the reverse of the original. */
export type Flow = {
  readonly family: Family;
  readonly orig: Tuple;
  readonly reply: Tuple;
  readonly id: number;
  /** Absent: 0. */
  readonly zone?: number;
};

/**
 * Like `conntrack -L -p PROTOCOL --orig-port-dst PORT`. Kernels before 5.8 do not filter, and report
 * everything: the caller checks.
 */
export function flowDump(family: Family, protocol: number, port: number): DumpRequest<Flow> {
  return {
    operation: 'conntrack list',
    object: `IPv${family} protocol ${protocol} port ${port}`,
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET,
    flags: 0,
    payload: writer(family)
      .nested(CTA_TUPLE_ORIG, (tuple) =>
        tuple.nested(CTA_TUPLE_PROTO, (proto) =>
          proto.u8(CTA_PROTO_NUM, protocol).be16(CTA_PROTO_DST_PORT, port),
        ),
      )
      .nested(CTA_FILTER, (filter) =>
        filter.u32(CTA_FILTER_ORIG_FLAGS, BY_PROTOCOL_AND_PORT).u32(CTA_FILTER_REPLY_FLAGS, 0),
      )
      .finish(),
    decode: (message) => decodeFlow(message, family),
  };
}

/** Like `conntrack -D` of this one flow. ENOENT if it is gone. */
export function flowDelete({ family, orig, id, zone }: Flow): Request {
  const [src, dst] = addressTypes(family);
  return {
    operation: 'conntrack delete',
    object: `${orig.src} ${orig.dst} port ${orig.dport}`,
    type: (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE,
    flags: 0,
    payload: writer(family)
      .nested(CTA_TUPLE_ORIG, (tuple) =>
        tuple
          .nested(CTA_TUPLE_IP, (ip) => ip.bytes(src, ipToBytes(orig.src)).bytes(dst, ipToBytes(orig.dst)))
          .nested(CTA_TUPLE_PROTO, (proto) =>
            proto
              .u8(CTA_PROTO_NUM, orig.protocol)
              .be16(CTA_PROTO_SRC_PORT, orig.sport)
              .be16(CTA_PROTO_DST_PORT, orig.dport),
          ),
      )
      .be32(CTA_ID, id)
      .be16(CTA_ZONE, zone)
      .finish(),
  };
}

function writer(family: Family): Writer {
  return new Writer().header(NFGENMSG_SIZE, (header) => {
    header[0] = addressFamily(family);
  });
}

function decodeFlow({ payload }: Message, family: Family): Flow | undefined {
  const attributes = attributesOf(payload, NFGENMSG_SIZE);
  const orig = decodeTuple(attributes.get(CTA_TUPLE_ORIG), family);
  const reply = decodeTuple(attributes.get(CTA_TUPLE_REPLY), family);
  const id = attributes.get(CTA_ID)?.readUInt32BE();
  const zone = attributes.get(CTA_ZONE)?.readUInt16BE();
  if (!orig || !reply || id === undefined) return undefined;
  return { family, orig, reply, id, ...(zone !== undefined && { zone }) };
}

/** Undefined for another family, and for protocols without ports. */
function decodeTuple(bytes: Buffer | undefined, family: Family): Tuple | undefined {
  const tuple = bytes && attributesOf(bytes);
  const [ip, proto] = [tuple?.get(CTA_TUPLE_IP), tuple?.get(CTA_TUPLE_PROTO)];
  if (!ip || !proto) return undefined;
  const [from, to] = addressTypes(family);
  const [src, dst] = [attributesOf(ip).get(from), attributesOf(ip).get(to)];
  const ports = attributesOf(proto);
  const protocol = ports.get(CTA_PROTO_NUM)?.readUInt8();
  const sport = ports.get(CTA_PROTO_SRC_PORT)?.readUInt16BE();
  const dport = ports.get(CTA_PROTO_DST_PORT)?.readUInt16BE();
  if (!src || !dst || protocol === undefined || sport === undefined || dport === undefined) return undefined;
  return { src: ipFromBytes(src), dst: ipFromBytes(dst), protocol, sport, dport };
}

function addressTypes(family: Family): readonly [src: number, dst: number] {
  return family === 4 ? [CTA_IP_SRC, CTA_IP_DST] : [CTA_IP_SRC + 2, CTA_IP_DST + 2];
}
