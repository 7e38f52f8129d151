import { type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { type Mac, macFromBytes, macToBytes } from '../ip/mac.ts';
import {
  NDA_DST,
  NDA_IFINDEX,
  NDA_LLADDR,
  NDMSG_SIZE,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './neighbour.ts';
import { AF_BRIDGE } from './netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  type Request,
  Writer,
} from './netlink/message.ts';

const NDA_VLAN = 5;
const NDA_PORT = 6;
const NDA_VNI = 7;
const NDA_MASTER = 9;

export const NTF_SELF = 0x02;

/** An entry of a device's forwarding database: where frames to a hardware address go. */
export type Fdb = {
  /** Interface index: a vxlan device, or a port of a bridge. */
  readonly dev: number;
  readonly mac: Mac;
  /** The remote tunnel endpoint of a vxlan device. */
  readonly dst?: Ip | undefined;
  /** UDP, host order. Default: the device's. */
  readonly port?: number | undefined;
  /** Default: the device's. */
  readonly vni?: number | undefined;
  /** Interface index: the device through which the tunnel packet leaves. */
  readonly via?: number | undefined;
  readonly vlan?: number | undefined;
  /** Interface index of the bridge that owns the entry; absent for an entry of the device itself. */
  readonly master?: number | undefined;
  /** One of NUD_*. Default: NUD_PERMANENT. */
  readonly state?: number | undefined;
  /** NTF_*. Default: NTF_SELF, an entry of the device itself. */
  readonly flags?: number | undefined;
};

/** Like `bridge fdb replace MAC dst DST self permanent dev DEV`: the only entry for that address. */
export function fdbReplace(fdb: Fdb): Request {
  return change('fdb replace', fdb, NLM_F_CREATE | NLM_F_REPLACE);
}

/**
 * Like `bridge fdb delete MAC dst DST self dev DEV`; without `dst`, all destinations. ENOENT if it does not
 * exist.
 */
export function fdbDelete(fdb: Fdb): Request {
  const payload = encode(fdb, fdb.state ?? NUD_PERMANENT);
  return { operation: 'fdb delete', object: fdbText(fdb), type: RTM_DELNEIGH, flags: 0, payload };
}

/** Like `bridge fdb show dev DEV`. */
export function fdbDump(dev: number): DumpRequest<Fdb> {
  return {
    operation: 'fdb show',
    object: `dev ${dev}`,
    type: RTM_GETNEIGH,
    flags: 0,
    payload: new Writer()
      .header(NDMSG_SIZE, (header) => {
        header[0] = AF_BRIDGE;
        header.writeInt32LE(dev, 4);
      })
      .finish(),
    decode: decodeFdb,
    emptyOn: 'ENODEV',
  };
}

/** Decodes RTM_NEWNEIGH and RTM_DELNEIGH; undefined for anything but an FDB entry. */
export function decodeFdb({ payload }: Message): Fdb | undefined {
  if (payload.readUInt8(0) !== AF_BRIDGE) return undefined;
  const attributes = attributesOf(payload, NDMSG_SIZE);
  const mac = attributes.get(NDA_LLADDR);
  if (!mac) return undefined;
  const dst = attributes.get(NDA_DST);
  return {
    dev: payload.readInt32LE(4),
    mac: macFromBytes(mac),
    dst: dst && ipFromBytes(dst),
    port: attributes.get(NDA_PORT)?.readUInt16BE(),
    vni: attributes.get(NDA_VNI)?.readUInt32LE(),
    via: attributes.get(NDA_IFINDEX)?.readUInt32LE(),
    vlan: attributes.get(NDA_VLAN)?.readUInt16LE(),
    master: attributes.get(NDA_MASTER)?.readUInt32LE(),
    state: payload.readUInt16LE(8),
    flags: payload.readUInt8(10),
  };
}

function change(operation: string, fdb: Fdb, flags: number): Request {
  const payload = encode(fdb, fdb.state ?? NUD_PERMANENT);
  return { operation, object: fdbText(fdb), type: RTM_NEWNEIGH, flags, payload };
}

function encode({ dev, mac, dst, port, vni, via, vlan, flags }: Fdb, state: number): Buffer {
  return new Writer()
    .header(NDMSG_SIZE, (header) => {
      header[0] = AF_BRIDGE;
      header.writeInt32LE(dev, 4);
      header.writeUInt16LE(state, 8);
      header[10] = flags ?? NTF_SELF;
    })
    .bytes(NDA_LLADDR, macToBytes(mac))
    .bytes(NDA_DST, dst && ipToBytes(dst))
    .u16(NDA_VLAN, vlan)
    .be16(NDA_PORT, port)
    .u32(NDA_VNI, vni)
    .u32(NDA_IFINDEX, via)
    .finish();
}

function fdbText({ dev, mac, dst }: Fdb): string {
  return `${mac}${dst ? ` dst ${dst}` : ''} dev ${dev}`;
}
