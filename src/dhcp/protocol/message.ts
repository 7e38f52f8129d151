import { hash } from 'node:crypto';
import { type Ip, ipFromBytes, ipToBytes } from '../../ip/address.ts';
import { type Mac, macFromBytes, macToBytes } from '../../ip/mac.ts';
import { UNSPECIFIED } from './packet.ts';

/** The types of messages (RFC 2132 §9.6). */
export const TYPE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

/** The options that we send or read (RFC 2132). */
export const OPTION = {
  pad: 0,
  mask: 1,
  router: 3,
  dns: 6,
  domain: 15,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  type: 53,
  server: 54,
  parameters: 55,
  maxSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  clientId: 61,
  end: 255,
} as const;

/** The port of servers and that of clients. */
export const SERVER_PORT = 67;
export const CLIENT_PORT = 68;

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const ETHERNET = 1;
const BROADCAST = 0x8000;
const COOKIE = 0x63825363;
/** Where the fields are (RFC 2131 §2). */
const AT = {
  secs: 8,
  flags: 10,
  ciaddr: 12,
  yiaddr: 16,
  chaddr: 28,
  sname: 44,
  file: 108,
  cookie: 236,
} as const;
const OPTIONS = 240;
/** Some relays and servers drop shorter ones (RFC 1542 §2.1). */
const LEAST_SIZE = 300;

/** A DHCP message, as far as clients need it. */
export type Message = {
  readonly isReply: boolean;
  /** What a reply has in common with its request. */
  readonly xid: number;
  /** The address that the client has, and the one that the server gives it. */
  readonly client: Ip;
  readonly your: Ip;
  readonly mac: Mac;
  readonly options: ReadonlyMap<number, Uint8Array>;
};

/** A client's message: replies are to be broadcast while the client has no address. */
export type ClientMessage = {
  readonly xid: number;
  /** Seconds since the client began. */
  readonly seconds?: number;
  /** The address that it has. Absent: none. */
  readonly client?: Ip;
  readonly mac: Mac;
  readonly options: readonly (readonly [code: number, value: Uint8Array])[];
};

export function encode({ xid, seconds = 0, client, mac, options }: ClientMessage): Buffer {
  const size = OPTIONS + options.reduce((sum, [, value]) => sum + 2 + value.length, 1);
  const bytes = Buffer.alloc(Math.max(size, LEAST_SIZE));
  bytes[0] = BOOTREQUEST;
  bytes[1] = ETHERNET;
  bytes[2] = 6;
  bytes.writeUInt32BE(xid, 4);
  bytes.writeUInt16BE(Math.min(seconds, 0xffff), AT.secs);
  bytes.writeUInt16BE(client === undefined ? BROADCAST : 0, AT.flags);
  if (client !== undefined) bytes.set(ipToBytes(client), AT.ciaddr);
  bytes.set(macToBytes(mac), AT.chaddr);
  bytes.writeUInt32BE(COOKIE, AT.cookie);
  let at = OPTIONS;
  for (const [code, value] of options) {
    bytes[at] = code;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = OPTION.end;
  return bytes;
}

/** Undefined for anything that is not a well-formed message for Ethernet. */
export function decode(bytes: Buffer): Message | undefined {
  if (bytes.length < OPTIONS || bytes.readUInt32BE(AT.cookie) !== COOKIE) return undefined;
  const op = bytes[0];
  if ((op !== BOOTREQUEST && op !== BOOTREPLY) || bytes[1] !== ETHERNET || bytes[2] !== 6) return undefined;
  const options = new Map<number, Uint8Array>();
  if (!readOptions(bytes.subarray(OPTIONS), options)) return undefined;
  // The fields for names may hold further options, that for the file first.
  const overload = options.get(OPTION.overload)?.[0] ?? 0;
  if (overload & 1 && !readOptions(bytes.subarray(AT.file, AT.cookie), options)) return undefined;
  if (overload & 2 && !readOptions(bytes.subarray(AT.sname, AT.file), options)) return undefined;
  return {
    isReply: op === BOOTREPLY,
    xid: bytes.readUInt32BE(4),
    client: ipFromBytes(bytes.subarray(AT.ciaddr, AT.ciaddr + 4)),
    your: ipFromBytes(bytes.subarray(AT.yiaddr, AT.yiaddr + 4)),
    mac: macFromBytes(bytes.subarray(AT.chaddr, AT.chaddr + 6)),
    options,
  };
}

/** Adds the options of a field; several of one code are parts of one (RFC 3396). False if one exceeds it. */
function readOptions(field: Buffer, options: Map<number, Uint8Array>): boolean {
  for (let at = 0; at < field.length; ) {
    const code = field[at] as number;
    if (code === OPTION.end) return true;
    if (code === OPTION.pad) {
      at++;
      continue;
    }
    const length = field[at + 1];
    if (length === undefined || at + 2 + length > field.length) return false;
    const value = field.subarray(at + 2, at + 2 + length);
    const before = options.get(code);
    options.set(code, before ? Buffer.concat([before, value]) : value);
    at += 2 + length;
  }
  return true;
}

/** The type of a message; undefined if it has none. */
export function typeOf({ options }: Message): number | undefined {
  const value = options.get(OPTION.type);
  return value?.length === 1 ? value[0] : undefined;
}

/** The addresses in an option; none if it is absent or malformed. */
export function addressesIn({ options }: Message, code: number): readonly Ip[] {
  const value = options.get(code);
  if (!value || value.length % 4 !== 0) return [];
  return Array.from({ length: value.length / 4 }, (_, i) => ipFromBytes(value.subarray(4 * i, 4 * i + 4)));
}

/** The only address in an option. */
export function addressIn(message: Message, code: number): Ip | undefined {
  const [first, ...more] = addressesIn(message, code);
  return more.length === 0 && first !== UNSPECIFIED ? first : undefined;
}

/** A number of 32 bits, such as seconds. */
export function numberIn({ options }: Message, code: number): number | undefined {
  const value = options.get(code);
  return value?.length === 4 ? Buffer.from(value).readUInt32BE() : undefined;
}

/** The value of an option that is one number. */
export function numberOption(value: number, bytes: 1 | 2 | 4): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

/** Not a hardware address (RFC 2132 §9.14), and no longer than servers keep. */
export function clientIdOption(id: string): Buffer {
  return Buffer.concat([Buffer.of(0), Buffer.from(hash('sha256', id).slice(0, 32))]);
}
