import { FlatnetError } from '../error.ts';
import { BITS, familyOf, type Ip, ip4ToNumber, ipAdd, ipFromBytes, ipToBytes, parseIp } from './address.ts';

/**
 * A network as canonical text, host bits zero: `10.244.1.0/24`. `===` compares values. Created by
 * `parseCidr`.
 */
export type Cidr = string & { readonly __cidr: true };

/** An address with the length of its network, host bits kept, as an interface holds it: `10.244.1.1/24`. */
export type Prefixed = string & { readonly __prefixed: true };

/** Reads `address/length`; host bits are masked off, as Go's ParseCIDR does. Throws ADDRESS_INVALID. */
export function parseCidr(text: string): Cidr {
  const [ip, length] = split(text);
  return cidrOf(ip, length);
}

/** Reads `address/length` and keeps the host bits. Throws ADDRESS_INVALID. */
export function parsePrefixed(text: string): Prefixed {
  const [ip, length] = split(text);
  return prefixed(ip, length);
}

/** The network of `length` bits that contains the address. */
export function cidrOf(ip: Ip, length: number): Cidr {
  // The usual case: there are no host bits.
  const value = length <= 32 ? ip4ToNumber(ip) : -1;
  if (value >= 0 && (value & hostMask4(length)) === 0) return `${ip}/${length}` as Cidr;
  const bytes = ipToBytes(ip).map((byte, i) => byte & maskAt(i, length));
  return `${ipFromBytes(bytes)}/${length}` as Cidr;
}

export function prefixed(ip: Ip, length: number): Prefixed {
  return `${ip}/${length}` as Prefixed;
}

/** `10.0.0.1` → `10.0.0.1/32`. */
export function hostCidr(ip: Ip): Cidr {
  return `${ip}/${BITS[familyOf(ip)]}` as Cidr;
}

/** The address part: a Cidr's network address, a Prefixed's own address. */
export function addressOf(net: Cidr | Prefixed): Ip {
  return net.slice(0, net.indexOf('/')) as Ip;
}

export function lengthOf(net: Cidr | Prefixed): number {
  return Number(net.slice(net.indexOf('/') + 1));
}

/** The number of addresses in the network, including the network and broadcast addresses. */
export function sizeOf(cidr: Cidr): bigint {
  return 1n << BigInt(BITS[familyOf(cidr)] - lengthOf(cidr));
}

/** The address `index` after the network address. Throws ADDRESS_INVALID outside the network. */
export function nthIp(cidr: Cidr, index: number | bigint): Ip {
  if (BigInt(index) < 0n || BigInt(index) >= sizeOf(cidr)) {
    throw new FlatnetError(`address ${index} is outside ${cidr}`, { code: 'ADDRESS_INVALID' });
  }
  return ipAdd(addressOf(cidr), index);
}

/** The highest address of the network: for IPv4 its broadcast address. */
export function lastIp(cidr: Cidr): Ip {
  return nthIp(cidr, sizeOf(cidr) - 1n);
}

/** Whether the address, or the whole network, lies in `cidr`. False across families. */
export function contains(cidr: Cidr, inner: Ip | Cidr): boolean {
  if (familyOf(cidr) !== familyOf(inner)) return false;
  const isNet = inner.includes('/');
  const ip = isNet ? addressOf(inner as Cidr) : (inner as Ip);
  const length = isNet ? lengthOf(inner as Cidr) : BITS[familyOf(inner)];
  const wider = lengthOf(cidr);
  if (length < wider) return false;
  if (familyOf(cidr) === 4)
    return ((ip4ToNumber(ip) ^ ip4ToNumber(addressOf(cidr))) & ~hostMask4(wider)) === 0;
  const [bytes, network] = [ipToBytes(ip), ipToBytes(addressOf(cidr))];
  for (let i = 0; 8 * i < wider; i++) {
    if ((((bytes[i] ?? 0) ^ (network[i] ?? 0)) & maskAt(i, wider)) !== 0) return false;
  }
  return true;
}

/** The host bits of an IPv4 network. */
function hostMask4(length: number): number {
  return length === 0 ? -1 : 2 ** (32 - length) - 1;
}

/** Byte `index` of the mask of a network. */
function maskAt(index: number, length: number): number {
  return (0xff00 >> Math.min(8, Math.max(0, length - 8 * index))) & 0xff;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b) || contains(b, a);
}

function split(text: string): [Ip, number] {
  const slash = text.indexOf('/');
  const length = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9][0-9]{0,2})$/.test(length)) throw notCidr(text);
  let ip: Ip;
  try {
    ip = parseIp(text.slice(0, slash));
  } catch {
    throw notCidr(text);
  }
  if (Number(length) > BITS[familyOf(ip)]) throw notCidr(text);
  return [ip, Number(length)];
}

function notCidr(text: string): FlatnetError {
  return new FlatnetError(`'${text}' is not a network`, {
    code: 'ADDRESS_INVALID',
    fix: 'write address/length, e.g. 10.244.0.0/16 or fd00:10:244::/56',
  });
}
