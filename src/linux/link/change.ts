import { FlatnetError } from '../../error.ts';
import { type Mac, macToBytes } from '../../ip/mac.ts';
import { AF_INET6 } from '../netlink/family.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type Request, Writer } from '../netlink/message.ts';
import * as IFLA from './attributes.ts';
import { type BridgePort, writeBridgePort } from './bridge.ts';
import { type LinkData, parentOf, writeLinkData } from './kinds.ts';
import { IFF_ALLMULTI, IFF_PROMISC, IFF_UP, RTM_DELLINK, RTM_NEWLINK } from './link.ts';

const IFLA_INET6_ADDR_GEN_MODE = 8;

/** How IPv6 generates the link-local address (in6_addr_gen_mode). */
const ADDR_GEN_MODES = { eui64: 0, none: 1, stablePrivacy: 2, random: 3 } as const;

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
  /** Queues in each direction. Default: the kernel's, for a veth one per processor, of which it uses one. */
  readonly queues?: number | undefined;
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

/** Like `ip link set dev NAME up`. */
export function linkUp(name: string): Request[] {
  return change(0, { up: true }, name);
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

function encode(index: number, changes: LinkChanges & Pick<LinkSpec, 'queues'>): Buffer {
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
    queues,
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
    .u32(IFLA.IFLA_NUM_TX_QUEUES, queues)
    .u32(IFLA.IFLA_NUM_RX_QUEUES, queues)
    .bytes(IFLA.IFLA_ADDRESS, mac && macToBytes(mac))
    .u32(IFLA.IFLA_LINK, parentOf(data))
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
