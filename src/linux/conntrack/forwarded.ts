import { type Family, type Ip, ipFromBytes, ipToBytes } from '../../ip/address.ts';
import {
  type Attributes,
  attributesOf,
  type DumpRequest,
  type Message,
  type Request,
} from '../netlink/message.ts';
import * as ct from './message.ts';

/** A tracked connection as the hook `forward` sees its first packet: after DNAT, and before SNAT. */
export type Forwarded = {
  readonly family: Family;
  readonly source: Ip;
  readonly destination: Ip;
  readonly protocol: number;
  /** The destination's port. Absent: the protocol has none. */
  readonly port?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
  /** What the kernel knows it by. */
  readonly id: number;
  readonly zone?: number;
  /** CTA_TUPLE_ORIG as read. */
  readonly tuple: Buffer;
};

/** Ends of connections: all that have an address as their source, or destination; or all there are. */
export type End = { readonly source: Ip } | { readonly destination: Ip } | undefined;

/**
 * Like `conntrack -L --orig-src SOURCE`, or `--reply-src DESTINATION`. `accept` picks the connections; it is
 * asked only about those with an end among `at`, and never about those that a helper expected for others,
 * such as FTP's. Kernels before 5.8 do not filter.
 */
export function forwardedDump(
  family: Family,
  end: End,
  at: ReadonlySet<Ip>,
  accept: (connection: Forwarded) => boolean,
): DumpRequest<Forwarded> {
  const ends = new Set([...at].map((ip) => keyOf(ipToBytes(ip))));
  return {
    operation: 'conntrack list',
    object: `IPv${family}`,
    type: ct.CT_GET,
    flags: 0,
    payload: filterOf(family, end),
    decode: (message) => {
      const connection = decode(message, family, ends);
      return connection && accept(connection) ? connection : undefined;
    },
  };
}

/** Like `conntrack -D` of this one. ENOENT if it is gone. */
export function forwardedDelete({ family, source, destination, id, zone, tuple }: Forwarded): Request {
  return {
    operation: 'conntrack delete',
    object: `${source} ${destination}`,
    type: ct.CT_DELETE,
    flags: 0,
    payload: ct
      .conntrackWriter(family)
      .bytes(ct.CTA_TUPLE_ORIG | NLA_F_NESTED, tuple)
      .be32(ct.CTA_ID, id)
      .be16(ct.CTA_ZONE, zone)
      .finish(),
  };
}

const NLA_F_NESTED = 0x8000;

function filterOf(family: Family, end: End): Buffer {
  const writer = ct.conntrackWriter(family);
  if (end === undefined) return writer.finish();
  const [src] = ct.addressTypes(family);
  const [tuple, ip] =
    'source' in end ? [ct.CTA_TUPLE_ORIG, end.source] : [ct.CTA_TUPLE_REPLY, end.destination];
  const flags = (of: number): number => (tuple === of ? ct.CTA_FILTER_F_CTA_IP_SRC : 0);
  return writer
    .nested(tuple, (own) => own.nested(ct.CTA_TUPLE_IP, (address) => address.bytes(src, ipToBytes(ip))))
    .nested(ct.CTA_FILTER, (filter) =>
      filter
        .u32(ct.CTA_FILTER_ORIG_FLAGS, flags(ct.CTA_TUPLE_ORIG))
        .u32(ct.CTA_FILTER_REPLY_FLAGS, flags(ct.CTA_TUPLE_REPLY)),
    )
    .finish();
}

function decode({ payload }: Message, family: Family, ends: ReadonlySet<string>): Forwarded | undefined {
  const attributes = attributesOf(payload, ct.NFGENMSG_SIZE);
  const tuple = attributes.get(ct.CTA_TUPLE_ORIG);
  const reply = attributes.get(ct.CTA_TUPLE_REPLY);
  const source = sourceOf(tuple, family);
  const destination = sourceOf(reply, family);
  if (!tuple || !reply || !source || !destination) return undefined;
  if (!ends.has(keyOf(source)) && !ends.has(keyOf(destination))) return undefined;
  const id = attributes.get(ct.CTA_ID)?.readUInt32BE();
  const [own, other] = [protocolOf(tuple), protocolOf(reply)];
  const protocol = own?.get(ct.CTA_PROTO_NUM)?.readUInt8();
  if (id === undefined || protocol === undefined || attributes.has(ct.CTA_TUPLE_MASTER)) return undefined;
  const port = other?.get(ct.CTA_PROTO_SRC_PORT)?.readUInt16BE();
  const icmp = own && icmpOf(own, family);
  const zone = attributes.get(ct.CTA_ZONE)?.readUInt16BE();
  return {
    family,
    source: ipFromBytes(source),
    destination: ipFromBytes(destination),
    protocol,
    ...(port !== undefined && { port }),
    ...(icmp && { icmp }),
    id,
    ...(zone !== undefined && { zone }),
    tuple: Buffer.from(tuple),
  };
}

/** For sets: text of these bytes. */
function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function sourceOf(tuple: Buffer | undefined, family: Family): Buffer | undefined {
  const ip = tuple && attributesOf(tuple).get(ct.CTA_TUPLE_IP);
  return ip && attributesOf(ip).get(ct.addressTypes(family)[0]);
}

function protocolOf(tuple: Buffer): Attributes | undefined {
  const protocol = attributesOf(tuple).get(ct.CTA_TUPLE_PROTO);
  return protocol && attributesOf(protocol);
}

function icmpOf(protocol: Attributes, family: Family): Forwarded['icmp'] {
  const further = family === 4 ? 0 : 3;
  const type = protocol.get(ct.CTA_PROTO_ICMP_TYPE + further)?.readUInt8();
  const code = protocol.get(ct.CTA_PROTO_ICMP_CODE + further)?.readUInt8();
  return type === undefined || code === undefined ? undefined : { type, code };
}
