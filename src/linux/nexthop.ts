import { type Family, familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';
import { type Attributes, attributesOf, Writer } from './netlink/message.ts';

const RTNEXTHOP_SIZE = 8;
const RTA_GATEWAY = 5;
const RTA_MULTIPATH = 9;
const RTA_VIA = 18;

export const RTNH_F_ONLINK = 4;

/** One of several next hops of a route. */
export type Nexthop = {
  /** Interface index. */
  readonly dev: number;
  readonly via?: Ip | undefined;
  readonly onlink?: boolean | undefined;
  /** Its share of the flows, 1 to 256. Default: 1. */
  readonly weight?: number | undefined;
};

/** Writes the gateway of a route of `family`: RTA_GATEWAY, or RTA_VIA for a gateway of the other family. */
export function writeGateway(writer: Writer, family: Family, via: Ip | undefined): void {
  if (via === undefined) return;
  const bytes = ipToBytes(via);
  if (familyOf(via) === family) writer.bytes(RTA_GATEWAY, bytes);
  else writer.bytes(RTA_VIA, Buffer.concat([Uint8Array.of(addressFamily(familyOf(via)), 0), bytes]));
}

export function readGateway(attributes: Attributes): Ip | undefined {
  const bytes = attributes.get(RTA_GATEWAY) ?? attributes.get(RTA_VIA)?.subarray(2);
  return bytes && ipFromBytes(bytes);
}

export function writeNexthops(writer: Writer, family: Family, nexthops: readonly Nexthop[]): void {
  const entries = nexthops.map(({ dev, via, onlink, weight = 1 }) => {
    const entry = new Writer().header(RTNEXTHOP_SIZE, (header) => {
      header[2] = onlink ? RTNH_F_ONLINK : 0;
      header[3] = weight - 1;
      header.writeInt32LE(dev, 4);
    });
    writeGateway(entry, family, via);
    const bytes = entry.finish();
    bytes.writeUInt16LE(bytes.length, 0);
    return bytes;
  });
  writer.bytes(RTA_MULTIPATH, Buffer.concat(entries));
}

/** Undefined for a route with a single next hop. */
export function readNexthops(attributes: Attributes): Nexthop[] | undefined {
  const bytes = attributes.get(RTA_MULTIPATH);
  if (!bytes) return undefined;
  const nexthops: Nexthop[] = [];
  for (let at = 0; at + RTNEXTHOP_SIZE <= bytes.length; ) {
    const length = Math.max(bytes.readUInt16LE(at), RTNEXTHOP_SIZE);
    const entry = bytes.subarray(at, at + length);
    nexthops.push({
      dev: entry.readInt32LE(4),
      via: readGateway(attributesOf(entry, RTNEXTHOP_SIZE)),
      onlink: (entry.readUInt8(2) & RTNH_F_ONLINK) !== 0,
      weight: entry.readUInt8(3) + 1,
    });
    at += (length + 3) & ~3;
  }
  return nexthops;
}
