import { type Family, familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { type Mac, macFromBytes, macToBytes } from '../ip/mac.ts';
import { addressFamily } from './netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  type Request,
  Writer,
} from './netlink/message.ts';

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const NDMSG_SIZE = 12;
export const NDA_DST = 1;
export const NDA_LLADDR = 2;
export const NDA_IFINDEX = 8;

export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_PERMANENT = 0x80;

/** The hardware address of an IP address on a link. */
export type Neighbour = {
  /** Interface index. */
  readonly dev: number;
  readonly ip: Ip;
  /** Absent while resolution is in progress or has failed. */
  readonly mac?: Mac | undefined;
  /** One of NUD_*. Default: NUD_PERMANENT. */
  readonly state?: number | undefined;
  /** NTF_*. Default: 0. */
  readonly flags?: number | undefined;
};

/** Like `ip neighbour replace IP lladdr MAC nud permanent dev DEV`. */
export function neighbourReplace(neighbour: Neighbour): Request {
  return {
    operation: 'neighbour replace',
    object: neighbourText(neighbour),
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    payload: encode(neighbour, neighbour.state ?? NUD_PERMANENT),
  };
}

/** Like `ip neighbour delete IP dev DEV`. ENOENT if it does not exist. */
export function neighbourDelete(neighbour: Pick<Neighbour, 'dev' | 'ip' | 'flags'>): Request {
  return {
    operation: 'neighbour delete',
    object: neighbourText(neighbour),
    type: RTM_DELNEIGH,
    flags: 0,
    payload: encode(neighbour, 0),
  };
}

/**
 * Like `ip neighbour show nud all`; optionally limited to one family or interface. FDB entries are not
 * included.
 */
export function neighbourDump(filter: { family?: Family; dev?: number } = {}): DumpRequest<Neighbour> {
  return {
    operation: 'neighbour show',
    object: filter.dev === undefined ? 'all' : `dev ${filter.dev}`,
    type: RTM_GETNEIGH,
    flags: 0,
    payload: new Writer()
      .header(NDMSG_SIZE, (header) => {
        header[0] = addressFamily(filter.family);
      })
      .u32(NDA_IFINDEX, filter.dev)
      .finish(),
    decode: decodeNeighbour,
  };
}

/** Decodes RTM_NEWNEIGH and RTM_DELNEIGH; undefined for other families, such as FDB entries. */
export function decodeNeighbour({ payload }: Message): Neighbour | undefined {
  const family = payload.readUInt8(0);
  if (family !== addressFamily(4) && family !== addressFamily(6)) return undefined;
  const attributes = attributesOf(payload, NDMSG_SIZE);
  const ip = attributes.get(NDA_DST);
  if (!ip) return undefined;
  const mac = attributes.get(NDA_LLADDR);
  return {
    dev: payload.readInt32LE(4),
    ip: ipFromBytes(ip),
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    state: payload.readUInt16LE(8),
    flags: payload.readUInt8(10),
  };
}

function encode({ dev, ip, mac, flags }: Neighbour, state: number): Buffer {
  return new Writer()
    .header(NDMSG_SIZE, (header) => {
      header[0] = addressFamily(familyOf(ip));
      header.writeInt32LE(dev, 4);
      header.writeUInt16LE(state, 8);
      header[10] = flags ?? 0;
    })
    .bytes(NDA_DST, ipToBytes(ip))
    .bytes(NDA_LLADDR, mac && macToBytes(mac))
    .finish();
}

function neighbourText({ dev, ip, mac }: Neighbour): string {
  return `${ip}${mac ? ` lladdr ${mac}` : ''} dev ${dev}`;
}
