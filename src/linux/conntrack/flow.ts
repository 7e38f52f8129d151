import { type Family, type Ip, ipFromBytes, ipToBytes } from '../../ip/address.ts';
import { attributesOf, type DumpRequest, type Message, type Request } from '../netlink/message.ts';
import * as ct from './message.ts';

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
    type: ct.CT_GET,
    flags: 0,
    payload: ct
      .conntrackWriter(family)
      .nested(ct.CTA_TUPLE_ORIG, (tuple) =>
        tuple.nested(ct.CTA_TUPLE_PROTO, (proto) =>
          proto.u8(ct.CTA_PROTO_NUM, protocol).be16(ct.CTA_PROTO_DST_PORT, port),
        ),
      )
      .nested(ct.CTA_FILTER, (filter) =>
        filter
          .u32(ct.CTA_FILTER_ORIG_FLAGS, ct.CTA_FILTER_F_CTA_PROTO_NUM | ct.CTA_FILTER_F_CTA_PROTO_DST_PORT)
          .u32(ct.CTA_FILTER_REPLY_FLAGS, 0),
      )
      .finish(),
    decode: (message) => decodeFlow(message, family),
  };
}

/** Like `conntrack -D` of this one flow. ENOENT if it is gone. */
export function flowDelete({ family, orig, id, zone }: Flow): Request {
  const [src, dst] = ct.addressTypes(family);
  return {
    operation: 'conntrack delete',
    object: `${orig.src} ${orig.dst} port ${orig.dport}`,
    type: ct.CT_DELETE,
    flags: 0,
    payload: ct
      .conntrackWriter(family)
      .nested(ct.CTA_TUPLE_ORIG, (tuple) =>
        tuple
          .nested(ct.CTA_TUPLE_IP, (ip) => ip.bytes(src, ipToBytes(orig.src)).bytes(dst, ipToBytes(orig.dst)))
          .nested(ct.CTA_TUPLE_PROTO, (proto) =>
            proto
              .u8(ct.CTA_PROTO_NUM, orig.protocol)
              .be16(ct.CTA_PROTO_SRC_PORT, orig.sport)
              .be16(ct.CTA_PROTO_DST_PORT, orig.dport),
          ),
      )
      .be32(ct.CTA_ID, id)
      .be16(ct.CTA_ZONE, zone)
      .finish(),
  };
}

function decodeFlow({ payload }: Message, family: Family): Flow | undefined {
  const attributes = attributesOf(payload, ct.NFGENMSG_SIZE);
  const orig = decodeTuple(attributes.get(ct.CTA_TUPLE_ORIG), family);
  const reply = decodeTuple(attributes.get(ct.CTA_TUPLE_REPLY), family);
  const id = attributes.get(ct.CTA_ID)?.readUInt32BE();
  const zone = attributes.get(ct.CTA_ZONE)?.readUInt16BE();
  if (!orig || !reply || id === undefined) return undefined;
  return { family, orig, reply, id, ...(zone !== undefined && { zone }) };
}

/** Undefined for another family, and for protocols without ports. */
function decodeTuple(bytes: Buffer | undefined, family: Family): Tuple | undefined {
  const tuple = bytes && attributesOf(bytes);
  const [ip, proto] = [tuple?.get(ct.CTA_TUPLE_IP), tuple?.get(ct.CTA_TUPLE_PROTO)];
  if (!ip || !proto) return undefined;
  const [from, to] = ct.addressTypes(family);
  const [src, dst] = [attributesOf(ip).get(from), attributesOf(ip).get(to)];
  const ports = attributesOf(proto);
  const protocol = ports.get(ct.CTA_PROTO_NUM)?.readUInt8();
  const sport = ports.get(ct.CTA_PROTO_SRC_PORT)?.readUInt16BE();
  const dport = ports.get(ct.CTA_PROTO_DST_PORT)?.readUInt16BE();
  if (!src || !dst || protocol === undefined || sport === undefined || dport === undefined) return undefined;
  return { src: ipFromBytes(src), dst: ipFromBytes(dst), protocol, sport, dport };
}
