import { FlatnetError } from '../../error.ts';
import { type Mac, macFromBytes, macToBytes } from '../../ip/mac.ts';
import { AF_BRIDGE, AF_INET6, AF_UNSPEC } from '../netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  type Request,
  stringOf,
  Writer,
} from '../netlink/message.ts';
import * as IFLA from './attributes.ts';
import { type BridgePort, readBridgePort, writeBridgePort } from './bridge.ts';
import { type LinkData, readLinkData, writeLinkData } from './kinds.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

export const IFF_UP = 1;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFF_RUNNING = 0x40;
export const IFF_LOWER_UP = 0x10000;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFLA_INET6_ADDR_GEN_MODE = 8;

/** How IPv6 generates the link-local address (in6_addr_gen_mode). */
const ADDR_GEN_MODES = { eui64: 0, none: 1, stablePrivacy: 2, random: 3 } as const;

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

/** The settable properties of an interface. Undefined ones stay unchanged. */
export type LinkChanges = {
  readonly name?: string | undefined;
  readonly up?: boolean | undefined;
  /** Whether it accepts frames for any address. */
  readonly promisc?: boolean | undefined;
  /** Whether it accepts all multicast frames. */
  readonly allmulti?: boolean | undefined;
  /** Packets. */
  readonly txQueueLength?: number | undefined;
  /** Bytes. */
  readonly mtu?: number | undefined;
  readonly mac?: Mac | undefined;
  /** Index; 0 removes it from its master. */
  readonly master?: number | undefined;
  /** Empty removes it. */
  readonly alias?: string | undefined;
  readonly group?: number | undefined;
  /** Descriptor of the network namespace to move it to or create it in. */
  readonly netns?: number | undefined;
  readonly addrGenMode?: keyof typeof ADDR_GEN_MODES | undefined;
  /** Bridge ports only; the interface may become one in the same call. */
  readonly port?: BridgePort | undefined;
  /** The changeable properties of its kind, such as the local address of a vxlan device. */
  readonly data?: LinkData | undefined;
};

export type LinkSpec = LinkChanges & {
  readonly name: string;
  readonly data: LinkData;
  /** The index to give it. Default: the next free one. */
  readonly index?: number | undefined;
};

/**
 * Like `ip link add NAME type KIND …`. EEXIST if the name is taken. One request, plus more for settings that
 * the kernel does not accept at creation (alias, addrGenMode, port); those address the link by name, so they
 * can't be combined with `netns`.
 */
export function linkAdd(spec: LinkSpec): Request[] {
  const { alias, addrGenMode, port, up, ...atOnce } = spec;
  const later = alias !== undefined || addrGenMode !== undefined || port !== undefined;
  if (later && spec.netns !== undefined) {
    throw new FlatnetError('alias, addrGenMode and port cannot be combined with netns', {
      code: 'INTERNAL',
      operation: 'link add',
      object: spec.name,
    });
  }
  const create: Request = {
    operation: 'link add',
    object: `${spec.name} type ${spec.data.kind}`,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: encode(spec.index ?? 0, later ? atOnce : { ...atOnce, up }),
  };
  return later ? [create, ...change(0, { alias, addrGenMode, port, up }, spec.name)] : [create];
}

/**
 * Like `ip link set dev INDEX …`. Up to three requests, because the kernel accepts some settings only after
 * others.
 */
export function linkSet(index: number, changes: LinkChanges): Request[] {
  return change(index, changes);
}

/** Like `ip link delete dev INDEX`. ENODEV if it does not exist. */
export function linkDelete(index: number): Request {
  return {
    operation: 'link delete',
    object: `${index}`,
    type: RTM_DELLINK,
    flags: 0,
    payload: encode(index, {}),
  };
}

/**
 * Like `ip link delete group GROUP`: deleting all of them takes no longer than deleting one. ENODEV if the
 * group is empty.
 */
export function linkDeleteGroup(group: number): Request {
  const payload = encode(0, { group });
  return { operation: 'link delete', object: `group ${group}`, type: RTM_DELLINK, flags: 0, payload };
}

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
    linkIndex: number(IFLA.IFLA_LINK),
    netnsId: attributes.get(IFLA.IFLA_LINK_NETNSID)?.readInt32LE(),
    data: readLinkData(kind, data ? attributesOf(data) : new Map()),
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

/**
 * Addresses the link by `index`, or by `name` if that is 0. Within one message the kernel applies port
 * settings before the master, and `up` before addrGenMode, which is then too late for the link-local address.
 */
function change(index: number, changes: LinkChanges, name?: string): Request[] {
  const { port, up, ...others } = changes;
  const isUpLater = up !== undefined && others.addrGenMode !== undefined;
  const isPortLater = port !== undefined && (others.master !== undefined || others.data !== undefined);
  const first = {
    ...others,
    name: name ?? others.name,
    ...(!isUpLater && { up }),
    ...(!isPortLater && { port }),
  };
  const payloads = [encode(index, first)];
  if (isPortLater) payloads.push(encode(index, { name, port }));
  if (isUpLater) payloads.push(encode(index, { name, up }));
  const object = name ?? `${index}`;
  return payloads.map((payload) => ({ operation: 'link set', object, type: RTM_NEWLINK, flags: 0, payload }));
}

function encode(index: number, changes: LinkChanges): Buffer {
  const {
    name,
    up,
    promisc,
    allmulti,
    txQueueLength,
    mtu,
    mac,
    master,
    alias,
    group,
    netns,
    addrGenMode,
    data,
    port,
  } = changes;
  const flags = [
    [up, IFF_UP],
    [promisc, IFF_PROMISC],
    [allmulti, IFF_ALLMULTI],
  ] as const;
  const writer = header(index, flags)
    .string(IFLA.IFLA_IFNAME, name)
    .u32(IFLA.IFLA_MTU, mtu)
    .u32(IFLA.IFLA_TXQLEN, txQueueLength)
    .bytes(IFLA.IFLA_ADDRESS, mac && macToBytes(mac))
    .u32(IFLA.IFLA_MASTER, master)
    // Without a terminating zero, which would make an empty alias one of length 1.
    .bytes(IFLA.IFLA_IFALIAS, alias === undefined ? undefined : Buffer.from(alias))
    .u32(IFLA.IFLA_GROUP, group)
    .u32(IFLA.IFLA_NET_NS_FD, netns);
  if (addrGenMode) {
    writer.nested(IFLA.IFLA_AF_SPEC, () =>
      writer.nested(AF_INET6, () => writer.u8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODES[addrGenMode])),
    );
  }
  if (data) {
    writer.nested(IFLA.IFLA_LINKINFO, () =>
      writer
        .bytes(IFLA.IFLA_INFO_KIND, Buffer.from(data.kind))
        .nested(IFLA.IFLA_INFO_DATA, () => writeLinkData(writer, data)),
    );
  }
  if (port) {
    writer.nested(IFLA.IFLA_LINKINFO, () =>
      writer
        .string(IFLA.IFLA_INFO_SLAVE_KIND, 'bridge')
        .nested(IFLA.IFLA_INFO_SLAVE_DATA, () => writeBridgePort(writer, port)),
    );
  }
  return writer.finish();
}

/** `flags`: those to change, with their bits. */
function header(index: number, flags: readonly (readonly [boolean | undefined, number])[] = []): Writer {
  const changed = flags.filter(([value]) => value !== undefined);
  const bits = (of: typeof changed): number => of.reduce((sum, [, bit]) => sum | bit, 0);
  return new Writer().header(IFLA.IFINFOMSG_SIZE, (bytes) => {
    bytes.writeInt32LE(index, 4);
    bytes.writeUInt32LE(bits(changed.filter(([value]) => value)), 8);
    bytes.writeUInt32LE(bits(changed), 12);
  });
}
