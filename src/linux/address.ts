import { type Family, familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { addressOf, lengthOf, type Prefixed, prefixed } from '../ip/cidr.ts';
import { addressFamily } from './netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  type Request,
  stringOf,
  Writer,
} from './netlink/message.ts';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const IFADDRMSG_SIZE = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;

/** In IPv6, a privacy address (RFC 8981), replaced daily. In IPv4 the same bit marks a secondary address. */
export const IFA_F_TEMPORARY = 0x01;
export const IFA_F_NODAD = 0x02;
export const IFA_F_DADFAILED = 0x08;
export const IFA_F_DEPRECATED = 0x20;
export const IFA_F_TENTATIVE = 0x40;

export const RT_SCOPE_UNIVERSE = 0;

/** An address of an interface. */
export type Address = {
  /** Interface index. */
  readonly dev: number;
  readonly address: Prefixed;
  /** The remote end of a point-to-point link; the prefix length is then that of the peer's network. */
  readonly peer?: Ip | undefined;
  readonly broadcast?: Ip | undefined;
  /** IPv4 only. Default: the name of the interface. */
  readonly label?: string | undefined;
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. Default: 0. */
  readonly scope?: number | undefined;
  /** IFA_F_*. Default: 0. */
  readonly flags?: number | undefined;
};

/**
 * Like `ip address replace ADDRESS dev DEV`. With `IFA_F_NODAD` in flags an IPv6 address is usable
 * immediately; with `IFA_F_NOPREFIXROUTE` the kernel adds no route for the network.
 */
export function addressReplace(address: Address): Request {
  return {
    operation: 'address replace',
    object: addressText(address),
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    payload: encode(address),
  };
}

/** Like `ip address add ADDRESS dev DEV`. EEXIST if the device has it; IPv6: with whatever prefix length. */
export function addressAdd(address: Address): Request {
  return {
    ...addressReplace(address),
    operation: 'address add',
    flags: NLM_F_CREATE | NLM_F_EXCL,
  };
}

/** Like `ip address delete ADDRESS dev DEV`. EADDRNOTAVAIL if it does not exist. */
export function addressDelete(address: Pick<Address, 'dev' | 'address' | 'peer'>): Request {
  return {
    operation: 'address delete',
    object: addressText(address),
    type: RTM_DELADDR,
    flags: 0,
    payload: encode(address),
  };
}

/** Like `ip address show`; optionally limited to one family or interface. */
export function addressDump(family?: Family, dev = 0): DumpRequest<Address> {
  return {
    operation: 'address show',
    object: family ? `IPv${family}` : 'all',
    type: RTM_GETADDR,
    flags: 0,
    payload: new Writer()
      .header(IFADDRMSG_SIZE, (header) => {
        header[0] = addressFamily(family);
        header.writeUInt32LE(dev, 4);
      })
      .finish(),
    decode: decodeAddress,
    emptyOn: 'ENODEV',
  };
}

/** Decodes RTM_NEWADDR and RTM_DELADDR; undefined for families other than IPv4 and IPv6. */
export function decodeAddress({ payload }: Message): Address | undefined {
  const attributes = attributesOf(payload, IFADDRMSG_SIZE);
  const remote = attributes.get(IFA_ADDRESS);
  const local = attributes.get(IFA_LOCAL) ?? remote;
  if (!local || !remote) return undefined;
  const broadcast = attributes.get(IFA_BROADCAST);
  const label = attributes.get(IFA_LABEL);
  return {
    dev: payload.readUInt32LE(4),
    address: prefixed(ipFromBytes(local), payload.readUInt8(1)),
    peer: local.equals(remote) ? undefined : ipFromBytes(remote),
    broadcast: broadcast && ipFromBytes(broadcast),
    label: label && stringOf(label),
    scope: payload.readUInt8(3),
    flags: attributes.get(IFA_FLAGS)?.readUInt32LE() ?? payload.readUInt8(2),
  };
}

function encode({ dev, address, peer, broadcast, label, scope, flags }: Address): Buffer {
  const local = addressOf(address);
  return new Writer()
    .header(IFADDRMSG_SIZE, (header) => {
      header[0] = addressFamily(familyOf(local));
      header[1] = lengthOf(address);
      header[3] = scope ?? RT_SCOPE_UNIVERSE;
      header.writeUInt32LE(dev, 4);
    })
    .bytes(IFA_LOCAL, ipToBytes(local))
    .bytes(IFA_ADDRESS, ipToBytes(peer ?? local))
    .bytes(IFA_BROADCAST, broadcast && ipToBytes(broadcast))
    .string(IFA_LABEL, label)
    .u32(IFA_FLAGS, flags)
    .finish();
}

function addressText({ dev, address, peer }: Address): string {
  return `${address}${peer ? ` peer ${peer}` : ''} dev ${dev}`;
}
