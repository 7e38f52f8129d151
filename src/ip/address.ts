import { FlatnetError } from '../error.ts';

/** 4 or 6. Code that differs between IPv4 and IPv6 takes it as a parameter. */
export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/**
 * An IP address as canonical text (RFC 5952 for IPv6: lower case, longest run of zeros shortened), so that
 * `===` compares values, JSON needs no codec, and an address can be a Map key. Created by `parseIp`.
 */
export type Ip = string & { readonly __ip: true };

export const BITS: Record<Family, number> = { 4: 32, 6: 128 };

const BYTES = (family: Family): number => BITS[family] / 8;

/** Reads an IPv4 or IPv6 address. Throws ADDRESS_INVALID. IPv4-mapped IPv6 (`::ffff:1.2.3.4`) stays IPv6. */
export function parseIp(text: string): Ip {
  if (!text.includes(':')) {
    // There is only one way to write an IPv4 address.
    if (ip4ToNumber(text) >= 0) return text as Ip;
  } else {
    const bytes = parse6(text);
    if (bytes) return ipFromBytes(bytes);
  }
  throw new FlatnetError(`'${text}' is not an IP address`, {
    code: 'ADDRESS_INVALID',
    fix: 'write IPv4 as 10.0.0.1 or IPv6 as fd00::1',
  });
}

export function isIp(text: string): boolean {
  return text.includes(':') ? parse6(text) !== undefined : ip4ToNumber(text) >= 0;
}

export function familyOf(address: Ip | string): Family {
  return address.includes(':') ? 6 : 4;
}

/** Returns the address or network. Throws ADDRESS_INVALID if it is of the other family. */
export function ofFamily<T extends string>(family: Family, value: T): T {
  if (familyOf(value) === family) return value;
  throw new FlatnetError(`'${value}' is IPv${familyOf(value)}; IPv${family} belongs here`, {
    code: 'ADDRESS_INVALID',
  });
}

/** 4 or 16 bytes in network order. */
export function ipToBytes(ip: Ip): Uint8Array {
  const bytes = ip.includes(':') ? parse6(ip) : parse4(ip);
  if (!bytes) throw new FlatnetError(`'${ip}' is not an IP address`, { code: 'ADDRESS_INVALID' });
  return bytes;
}

/** From 4 or 16 bytes in network order. */
export function ipFromBytes(bytes: Uint8Array): Ip {
  if (bytes.length === 4) return bytes.join('.') as Ip;
  if (bytes.length !== 16) {
    throw new FlatnetError(`${bytes.length} bytes are not an IP address`, { code: 'ADDRESS_INVALID' });
  }
  return text6(bytes) as Ip;
}

export function ipToBigInt(ip: Ip): bigint {
  let value = 0n;
  for (const byte of ipToBytes(ip)) value = (value << 8n) | BigInt(byte);
  return value;
}

/** Throws ADDRESS_INVALID if the value does not fit the family. */
export function ipFromBigInt(family: Family, value: bigint): Ip {
  if (value < 0n || value >> BigInt(BITS[family])) {
    throw new FlatnetError(`${value} is outside IPv${family}`, { code: 'ADDRESS_INVALID' });
  }
  const bytes = new Uint8Array(BYTES(family));
  for (let i = bytes.length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return ipFromBytes(bytes);
}

/** The address `offset` after (or before, if negative) this one. */
export function ipAdd(ip: Ip, offset: number | bigint): Ip {
  return ipFromBigInt(familyOf(ip), ipToBigInt(ip) + BigInt(offset));
}

/** Negative, zero or positive, IPv4 before IPv6: for sorting. */
export function ipCompare(a: Ip, b: Ip): number {
  const byFamily = familyOf(a) - familyOf(b);
  if (byFamily) return byFamily;
  const difference = ipToBigInt(a) - ipToBigInt(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/**
 * `::ffff:10.0.0.1` → `10.0.0.1`, for what Go's net.IP and dual-stack sockets write; anything else is
 * returned unchanged.
 */
export function unmapped(ip: Ip): Ip {
  return ip.startsWith('::ffff:') && ip.includes('.') ? (ip.slice(7) as Ip) : ip;
}

/** fe80::/10 or 169.254.0.0/16. */
export function isLinkLocal(ip: Ip): boolean {
  const [a = 0, b = 0] = ipToBytes(ip);
  return familyOf(ip) === 4 ? a === 169 && b === 254 : a === 0xfe && (b & 0xc0) === 0x80;
}

const DOT = 46;
const ZERO = 48;

/**
 * Returns an IPv4 address as an unsigned 32-bit number; -1 for anything else. Leading zeros are refused, as
 * some parsers read them as octal and others as decimal (CVE-2021-29923). Fast: a start with 5,000 peers
 * reads some 100,000 addresses.
 */
export function ip4ToNumber(text: string): number {
  let [value, byte, digits, dots] = [0, 0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || ++dots > 3) return -1;
      value = value * 256 + byte;
      byte = digits = 0;
      continue;
    }
    const digit = code - ZERO;
    if (digit < 0 || digit > 9 || (digits > 0 && byte === 0)) return -1;
    byte = byte * 10 + digit;
    if (byte > 255) return -1;
    digits++;
  }
  return dots === 3 && digits > 0 ? value * 256 + byte : -1;
}

function parse4(text: string): Uint8Array | undefined {
  const value = ip4ToNumber(text);
  return value < 0 ? undefined : Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function parse6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1] ?? '', true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const words = [...head, ...Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

function groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const words: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) words.push(Number.parseInt(part, 16));
    else if (last && i === parts.length - 1 && part.includes('.')) {
      const v4 = parse4(part);
      if (!v4) return undefined;
      words.push(((v4[0] ?? 0) << 8) | (v4[1] ?? 0), ((v4[2] ?? 0) << 8) | (v4[3] ?? 0));
    } else return undefined;
  }
  return words;
}

/** RFC 5952 §4: no leading zeros, `::` for the first longest run of at least two zero groups. */
function text6(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && words[i + run] === 0) run++;
    if (run > length) {
      start = i;
      length = run;
    }
    if (run) i += run;
  }
  // RFC 5952 §5: IPv4-mapped addresses keep the dotted tail, as the kernel and Go print them.
  if (words.slice(0, 5).every((w) => w === 0) && words[5] === 0xffff) {
    return `::ffff:${bytes.slice(12).join('.')}`;
  }
  const hex = words.map((word) => word.toString(16));
  if (start < 0) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}
