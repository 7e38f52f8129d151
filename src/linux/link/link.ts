import { type Mac, macFromBytes } from '../../ip/mac.ts';
import { AF_BRIDGE, AF_UNSPEC } from '../netlink/family.ts';
import { attributesOf, type DumpRequest, type Message, stringOf, Writer } from '../netlink/message.ts';
import * as IFLA from './attributes.ts';
import { type BridgePort, readBridgePort } from './bridge.ts';
import { type LinkData, readLinkData } from './kinds.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

export const IFF_UP = 1;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFF_RUNNING = 0x40;
export const IFF_LOWER_UP = 0x10000;
const RTEXT_FILTER_SKIP_STATS = 8;

/** The index of `lo` in every namespace. */
export const LOOPBACK_INDEX = 1;

/** An interface as the kernel reports it. */
export type Link = {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, …; undefined for hardware and the loopback. */
  readonly kind: string | undefined;
  /** Whether it is set up (IFF_UP). */
  readonly up: boolean;
  /** Whether it has a carrier (IFF_LOWER_UP). */
  readonly running: boolean;
  /** Whether the kernel uses it (IFF_RUNNING), set shortly after the carrier comes up. */
  readonly operational: boolean;
  /** Bytes. */
  readonly mtu: number;
  readonly mac: Mac | undefined;
  /** Index of its bridge or other master. */
  readonly master: number | undefined;
  readonly alias: string | undefined;
  /** As in `ip link … group`; 0 is the default. */
  readonly group: number;
  /** Index of the underlying interface, or of a veth's other end, in the namespace `netnsId` if present. */
  readonly linkIndex: number | undefined;
  readonly netnsId: number | undefined;
  /** Undefined for unsupported kinds. */
  readonly data: LinkData | undefined;
  /** Bridge ports only. */
  readonly port: BridgePort | undefined;
  /** IFF_*. */
  readonly flags: number;
  /** Packets. */
  readonly txQueueLength: number;
};

/** Like `ip link show`; optionally limited to the ports of one master, or to one kind. */
export function linkDump(filter: { master?: number; kind?: string } = {}): DumpRequest<Link> {
  const writer = new Writer()
    .header(IFLA.IFINFOMSG_SIZE, () => {})
    .u32(IFLA.IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    .u32(IFLA.IFLA_MASTER, filter.master);
  if (filter.kind) writer.nested(IFLA.IFLA_LINKINFO, () => writer.string(IFLA.IFLA_INFO_KIND, filter.kind));
  return {
    operation: 'link show',
    object: 'all',
    type: RTM_GETLINK,
    flags: 0,
    payload: writer.finish(),
    decode: decodeLink,
  };
}

/** Like `ip link show dev DEV`, by name or index. ENODEV if it does not exist. */
export function linkGet(dev: string | number): DumpRequest<Link> {
  return {
    operation: 'link show',
    object: `${dev}`,
    type: RTM_GETLINK,
    flags: 0,
    payload: new Writer()
      .header(IFLA.IFINFOMSG_SIZE, (header) => {
        if (typeof dev === 'number') header.writeInt32LE(dev, 4);
      })
      .u32(IFLA.IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
      .string(IFLA.IFLA_IFNAME, typeof dev === 'string' ? dev : undefined)
      .finish(),
    decode: decodeLink,
  };
}

/** Decodes RTM_NEWLINK and RTM_DELLINK; undefined for messages about a bridge port, see `decodePort`. */
export function decodeLink({ payload }: Message): Link | undefined {
  if (payload.readUInt8(0) !== AF_UNSPEC) return undefined;
  const attributes = attributesOf(payload, IFLA.IFINFOMSG_SIZE);
  const number = (type: number): number | undefined => attributes.get(type)?.readUInt32LE();
  const name = attributes.get(IFLA.IFLA_IFNAME);
  const alias = attributes.get(IFLA.IFLA_IFALIAS);
  const mac = attributes.get(IFLA.IFLA_ADDRESS);
  const info = attributes.get(IFLA.IFLA_LINKINFO);
  const infos = info && attributesOf(info);
  const kindBytes = infos?.get(IFLA.IFLA_INFO_KIND);
  const kind = kindBytes && stringOf(kindBytes);
  const data = infos?.get(IFLA.IFLA_INFO_DATA);
  const portKind = infos?.get(IFLA.IFLA_INFO_SLAVE_KIND);
  const port = infos?.get(IFLA.IFLA_INFO_SLAVE_DATA);
  const flags = payload.readUInt32LE(8);
  const linkIndex = number(IFLA.IFLA_LINK);
  const netnsId = attributes.get(IFLA.IFLA_LINK_NETNSID)?.readInt32LE();
  return {
    index: payload.readInt32LE(4),
    name: name ? stringOf(name) : '',
    kind,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_LOWER_UP) !== 0,
    operational: (flags & IFF_RUNNING) !== 0,
    mtu: number(IFLA.IFLA_MTU) ?? 0,
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    master: number(IFLA.IFLA_MASTER),
    alias: alias && stringOf(alias),
    group: number(IFLA.IFLA_GROUP) ?? 0,
    linkIndex,
    netnsId,
    data: readLinkData(
      kind,
      data ? attributesOf(data) : new Map(),
      netnsId === undefined ? linkIndex : undefined,
    ),
    port:
      port && portKind && stringOf(portKind) === 'bridge' ? readBridgePort(attributesOf(port)) : undefined,
    flags,
    txQueueLength: number(IFLA.IFLA_TXQLEN) ?? 0,
  };
}

/**
 * A bridge port, from a message of family AF_BRIDGE. RTM_DELLINK then means that the port left its bridge.
 */
export type PortChange = {
  readonly dev: number;
  readonly master: number | undefined;
  readonly port: BridgePort | undefined;
};

export function decodePort({ payload }: Message): PortChange | undefined {
  if (payload.readUInt8(0) !== AF_BRIDGE) return undefined;
  const attributes = attributesOf(payload, IFLA.IFINFOMSG_SIZE);
  const port = attributes.get(IFLA.IFLA_PROTINFO);
  return {
    dev: payload.readInt32LE(4),
    master: attributes.get(IFLA.IFLA_MASTER)?.readUInt32LE(),
    port: port && readBridgePort(attributesOf(port)),
  };
}
