import { FlatnetError } from '../../../error.ts';
import { type Ip, ipCompare, ipFromBytes, ipToBytes, parseIp } from '../../../ip/address.ts';
import { addressOf, type Cidr, cidrOf, lastIp, lengthOf, parseCidr } from '../../../ip/cidr.ts';
import { type Mac, macFromBytes, macToBytes, parseMac } from '../../../ip/mac.ts';

/** From first to last, inclusive. */
export type Range<T> = { readonly first: T; readonly last: T };

/** The value type of each field type. The names are nft's own. */
export type FieldValues = {
  ipv4_addr: Ip | Cidr | Range<Ip>;
  ipv6_addr: Ip | Cidr | Range<Ip>;
  ether_addr: Mac;
  /** A protocol by number, or a common one by name. */
  inet_proto: keyof typeof PROTOCOLS | number;
  /** A TCP, UDP or SCTP port. */
  inet_service: number | Range<number>;
  mark: number;
  /** The name of an interface. */
  ifname: string;
  /** The source MAC and the type in an Ethernet header, adjacent there; a tagged frame has another type. */
  ether_source: EtherSource;
  /** The target of a neighbour solicitation or advertisement (RFC 4861 §4.3). */
  nd_target: Ip | Cidr;
  /** The MAC in the first option of a neighbour solicitation or advertisement (RFC 4861 §4.6.1). */
  nd_option_mac: Mac;
  /** The type and code of an ICMP message, `type << 8 | code`. */
  icmp_kind: number | Range<number>;
};

export type EtherSource = { readonly mac: Mac; readonly type: keyof typeof ETHER_TYPES };

export type FieldType = keyof FieldValues;

/** One field, as the bytes that the kernel compares. */
export type Field = Uint8Array;

/** A field's bytes; `last` for a range or a network. */
export type FieldBytes = { readonly first: Field; readonly last?: Field };

/** linux/if_ether.h. */
const ETHER_TYPES = { ip: 0x0800, ip6: 0x86dd } as const;
const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
const PROTOCOL_NAMES = new Map<number, string>(
  Object.entries(PROTOCOLS).map(([name, number]) => [number, name]),
);
const IFNAMSIZ = 16;

/** Size in bytes of a field used as the whole key; in a concatenation it is padded to a multiple of four. */
export const FIELD_SIZE: Readonly<Record<FieldType, number>> = {
  ipv4_addr: 4,
  ipv6_addr: 16,
  ether_addr: 6,
  inet_proto: 1,
  inet_service: 2,
  mark: 4,
  ifname: IFNAMSIZ,
  ether_source: 8,
  nd_target: 16,
  nd_option_mac: 6,
  icmp_kind: 2,
};

/**
 * The expression that reads the field from a packet. A set with a field that nft has no type for is declared
 * by the expressions of its fields (`typeof`), and its elements are numbers in nft's text.
 */
const SELECTORS: Readonly<Record<FieldType, { readonly expression: string; readonly isUntyped?: true }>> = {
  ipv4_addr: { expression: 'ip saddr' },
  ipv6_addr: { expression: 'ip6 saddr' },
  ether_addr: { expression: 'ether saddr' },
  inet_proto: { expression: 'meta l4proto' },
  inet_service: { expression: 'th dport' },
  mark: { expression: 'meta mark' },
  ifname: { expression: 'iifname' },
  ether_source: { expression: '@ll,48,64', isUntyped: true },
  nd_target: { expression: '@th,64,128', isUntyped: true },
  nd_option_mac: { expression: '@th,208,48', isUntyped: true },
  icmp_kind: { expression: '@th,0,16', isUntyped: true },
};

type Codec<V> = {
  text(value: V): string;
  toBytes(text: string): FieldBytes;
  fromBytes(first: Field, last: Field): string;
};

const address: Codec<Ip | Cidr | Range<Ip>> = {
  text: (value) => {
    if (typeof value !== 'string') return addressRange(value.first, value.last);
    if (!value.includes('/')) return value;
    const cidr = parseCidr(value);
    return addressRange(addressOf(cidr), lastIp(cidr));
  },
  toBytes: (text) => {
    if (text.includes('/')) {
      const cidr = parseCidr(text);
      return { first: ipToBytes(addressOf(cidr)), last: ipToBytes(lastIp(cidr)) };
    }
    const [first = '', last] = text.split('-');
    const bytes = ipToBytes(parseIp(first));
    return last === undefined ? { first: bytes } : { first: bytes, last: ipToBytes(parseIp(last)) };
  },
  fromBytes: (first, last) => addressRange(ipFromBytes(first), ipFromBytes(last)),
};

const ether: Codec<Mac> = {
  text: (mac) => mac,
  toBytes: (text) => ({ first: macToBytes(parseMac(text)) }),
  fromBytes: (first) => macFromBytes(first),
};

/** Numbers of 16 bits in network order. */
const short: Codec<number | Range<number>> = {
  text: (value) =>
    typeof value === 'number' || value.first === value.last
      ? `${typeof value === 'number' ? value : value.first}`
      : `${value.first}-${value.last}`,
  toBytes: (text) => {
    const [first = '', last] = text.split('-');
    return last === undefined
      ? { first: shortField(Number(first)) }
      : { first: shortField(Number(first)), last: shortField(Number(last)) };
  },
  fromBytes: (first, last) => {
    const [from, to] = [shortOf(first), shortOf(last)];
    return from === to ? `${from}` : `${from}-${to}`;
  },
};

const CODECS: { readonly [T in FieldType]: Codec<FieldValues[T]> } = {
  ipv4_addr: address,
  ipv6_addr: address,
  ether_addr: ether,
  nd_option_mac: ether,
  nd_target: address,
  ether_source: {
    text: ({ mac, type }) => `${mac}/${type}`,
    toBytes: (text) => {
      const [mac = '', type] = text.split('/');
      const number = type === 'ip6' ? ETHER_TYPES.ip6 : ETHER_TYPES.ip;
      return { first: Uint8Array.of(...macToBytes(parseMac(mac)), number >> 8, number & 0xff) };
    },
    fromBytes: (first) => `${macFromBytes(first)}/${first[6] === ETHER_TYPES.ip6 >> 8 ? 'ip6' : 'ip'}`,
  },
  inet_proto: {
    text: (value) => (typeof value === 'string' ? value : protocolText(value)),
    toBytes: (text) => ({ first: Uint8Array.of(protocolNumber(text)) }),
    fromBytes: ([number = 0]) => protocolText(number),
  },
  inet_service: short,
  icmp_kind: short,
  mark: {
    text: markText,
    toBytes: (text) => ({ first: markField(Number(text)) }),
    fromBytes: (bytes) => markText(Buffer.from(bytes).readUInt32LE()),
  },
  ifname: {
    text: (name) => `"${name}"`,
    toBytes: (text) => ({ first: interfaceField(text.slice(1, -1)) }),
    fromBytes: (bytes) => `"${Buffer.from(bytes).toString().replace(/\0.*$/s, '')}"`,
  },
};

/** Formats one field like nft. Equal values give equal text: `10.0.0.0/8`, `80-90`, `"eth0"`. */
export function fieldText<T extends FieldType>(type: T, value: FieldValues[T]): string {
  return CODECS[type].text(value);
}

/** The inverse of `fieldText`, in bytes. */
export function fieldBytes(type: FieldType, text: string): FieldBytes {
  return CODECS[type].toBytes(text);
}

/** Formats a field's bytes like `fieldText`. */
export function textOfField(type: FieldType, first: Field, last: Field): string {
  return CODECS[type].fromBytes(first, last);
}

/** Returns text that any `nft` can read: without /etc/protocols it knows no protocol names. */
export function portableText(type: FieldType, text: string): string {
  if (SELECTORS[type].isUntyped) {
    const { first, last } = CODECS[type].toBytes(text);
    return last === undefined ? number(first) : `${number(first)}-${number(last)}`;
  }
  return type === 'inet_proto' ? `${protocolNumber(text)}` : text;
}

/** How nft declares a set of such keys: `type ifname . ether_addr`. */
export function declarationOf(types: readonly FieldType[]): string {
  if (!types.some((type) => SELECTORS[type].isUntyped)) return `type ${types.join(' . ')}`;
  return `typeof ${types.map((type) => SELECTORS[type].expression).join(' . ')}`;
}

function number(field: Field): string {
  return `0x${Buffer.from(field).toString('hex')}`;
}

/** Encodes an interface name, `ifname`. */
export function interfaceField(name: string): Field {
  const field = new Uint8Array(IFNAMSIZ);
  field.set(Buffer.from(name).subarray(0, IFNAMSIZ - 1));
  return field;
}

function shortField(value: number): Field {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function shortOf([high = 0, low = 0]: Field): number {
  return (high << 8) | low;
}

/** Marks are in host byte order: little endian on every machine Node runs on. */
function markField(mark: number): Field {
  return Uint8Array.of(mark & 0xff, (mark >> 8) & 0xff, (mark >> 16) & 0xff, (mark >>> 24) & 0xff);
}

function markText(mark: number): string {
  return `0x${(mark >>> 0).toString(16).padStart(8, '0')}`;
}

function protocolText(number: number): string {
  return PROTOCOL_NAMES.get(number) ?? `${number}`;
}

function protocolNumber(text: string): number {
  const known: Readonly<Record<string, number>> = PROTOCOLS;
  return known[text] ?? Number(text);
}

/** Formats a range of addresses, as a network if it is one. */
function addressRange(first: Ip, last: Ip): string {
  if (first === last) return first;
  if (ipCompare(first, last) > 0) {
    throw new FlatnetError(`${first}-${last} is not a range of addresses`, { code: 'INTERNAL' });
  }
  const cidr = cidrOf(first, commonLength(ipToBytes(first), ipToBytes(last)));
  return addressOf(cidr) === first && lastIp(cidr) === last
    ? `${first}/${lengthOf(cidr)}`
    : `${first}-${last}`;
}

/** The number of equal leading bits. */
function commonLength(a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? 8 * a.length : 8 * at + Math.clz32((a[at] ?? 0) ^ (b[at] ?? 0)) - 24;
}
