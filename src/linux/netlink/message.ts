import { FlatnetError } from '../../error.ts';

/**
 * linux/netlink.h. All integers are in host byte order, which is little endian on every machine Node runs on.
 */
export const NLMSG_HDRLEN = 16;
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

const NLA_HDRLEN = 4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLMSGERR_ATTR_MSG = 1;

/**
 * A request to the kernel, as a value: created by a verb (`routeReplace`), sent by `NetlinkSocket.execute`.
 * Type, flags and payload are those of the message; NLM_F_REQUEST and NLM_F_ACK are added on sending.
 */
export type Request = {
  /** For errors and logs: `route replace`. */
  readonly operation: string;
  /** For errors and logs: `10.0.0.0/24 via 10.0.0.1 dev 5`. */
  readonly object: string;
  readonly type: number;
  readonly flags: number;
  /** Everything after the nlmsghdr: the family's header and attributes. */
  readonly payload: Buffer;
};

/** A request answered with messages: `decode` turns each into a value, or returns undefined to skip it. */
export type DumpRequest<T> = Request & {
  readonly decode: (message: Message) => T | undefined;
  /** The errno name that means "nothing there", e.g. ENOENT for a routing table without routes. */
  readonly emptyOn?: string;
};

/** A message from the kernel. The payload is a view of the receive buffer, valid until the next read. */
export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Buffer;
};

/** The outcome in an NLMSG_ERROR or at the end of a dump. Errno 0 is success. */
export type Verdict = { readonly errno: number; readonly text: string | undefined };

/** Attributes by type. If a type occurs more than once, the last one counts. */
export type Attributes = Pick<ReadonlyMap<number, Buffer>, 'get' | 'has'>;

const align = (length: number): number => (length + 3) & ~3;

/** Builds the payload of a message: a fixed header, then attributes, each padded to four bytes. */
export class Writer {
  // From Node's pool: allocating a zeroed buffer per request would cost several times as much.
  #buffer = Buffer.allocUnsafe(256).fill(0);
  #length = 0;

  /** Reserves `size` zero bytes for a fixed header (padded) and lets `fill` write into them. */
  header(size: number, fill: (header: Buffer) => void): this {
    const start = this.#reserve(align(size));
    fill(this.#buffer.subarray(start, start + size));
    return this;
  }

  /** Adds an attribute holding bytes. Like all these methods, it adds nothing for undefined. */
  bytes(type: number, value: Uint8Array | undefined): this {
    if (value === undefined) return this;
    this.#at(type, value.length).set(value);
    return this;
  }

  /** Adds an empty attribute if the value is true. */
  flag(type: number, value: boolean | undefined): this {
    if (value) this.#attribute(type, 0);
    return this;
  }

  u8(type: number, value: number | undefined): this {
    if (value !== undefined) this.#at(type, 1).writeUInt8(value);
    return this;
  }

  /** Adds a boolean in one byte. */
  bool(type: number, value: boolean | undefined): this {
    return value === undefined ? this : this.u8(type, value ? 1 : 0);
  }

  u16(type: number, value: number | undefined): this {
    if (value !== undefined) this.#at(type, 2).writeUInt16LE(value);
    return this;
  }

  /** Network byte order, as for ports. */
  be16(type: number, value: number | undefined): this {
    if (value !== undefined) this.#at(type, 2).writeUInt16BE(value);
    return this;
  }

  u32(type: number, value: number | undefined): this {
    if (value !== undefined) this.#at(type, 4).writeUInt32LE(value);
    return this;
  }

  /** Network byte order, as for all numbers in nftables. */
  be32(type: number, value: number | undefined): this {
    if (value !== undefined) this.#at(type, 4).writeUInt32BE(value);
    return this;
  }

  /** Network byte order. */
  be64(type: number, value: bigint | undefined): this {
    if (value !== undefined) this.#at(type, 8).writeBigUInt64BE(value);
    return this;
  }

  /** Adds zero-terminated text. */
  string(type: number, value: string | undefined): this {
    return value === undefined ? this : this.bytes(type, Buffer.from(`${value}\0`));
  }

  /** Adds an attribute containing the attributes that `fill` writes. */
  nested(type: number, fill: (writer: this) => void): this {
    const content = this.#attribute(type | NLA_F_NESTED, 0);
    fill(this);
    const length = this.#length - content + NLA_HDRLEN;
    if (length > 0xffff) {
      throw new FlatnetError(`a netlink attribute of ${length} bytes is too long`, { code: 'INTERNAL' });
    }
    this.#buffer.writeUInt16LE(length, content - NLA_HDRLEN);
    return this;
  }

  /** Returns everything written so far. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Adds an attribute and returns its content, to be filled. */
  #at(type: number, size: number): Buffer {
    const start = this.#attribute(type, size);
    return this.#buffer.subarray(start, start + size);
  }

  /** Writes an attribute's header, reserves space for its content and returns where the content starts. */
  #attribute(type: number, size: number): number {
    const start = this.#reserve(align(NLA_HDRLEN + size));
    this.#buffer.writeUInt16LE(NLA_HDRLEN + size, start);
    this.#buffer.writeUInt16LE(type, start + 2);
    return start + NLA_HDRLEN;
  }

  #reserve(size: number): number {
    const start = this.#length;
    this.#length += size;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(2 * this.#buffer.length, align(this.#length)));
      this.#buffer.copy(larger, 0, 0, start);
      this.#buffer = larger;
    }
    return start;
  }
}

/** The parts of an outgoing message: a request, or a marker between requests. */
export type Outgoing = Pick<Request, 'type' | 'flags' | 'payload'>;

/** Encodes one whole message, padded. */
export function encodeMessage(message: Outgoing, sequence: number): Buffer {
  return encodeMessages([message], sequence);
}

/** Encodes messages for a single write, with consecutive sequence numbers. */
export function encodeMessages(messages: readonly Outgoing[], firstSequence: number): Buffer {
  const size = messages.reduce((sum, { payload }) => sum + align(NLMSG_HDRLEN + payload.length), 0);
  const bytes = Buffer.alloc(size);
  let at = 0;
  for (const [i, { type, flags, payload }] of messages.entries()) {
    const length = NLMSG_HDRLEN + payload.length;
    bytes.writeUInt32LE(length, at);
    bytes.writeUInt16LE(type, at + 4);
    bytes.writeUInt16LE(flags, at + 6);
    bytes.writeUInt32LE(firstSequence + i, at + 8);
    bytes.set(payload, at + NLMSG_HDRLEN);
    at += align(length);
  }
  return bytes;
}

/** Yields the messages of one datagram. Throws INTERNAL when lengths do not add up. */
export function* messagesOf(datagram: Buffer): Generator<Message> {
  for (let at = 0; at < datagram.length; ) {
    const length = at + NLMSG_HDRLEN <= datagram.length ? datagram.readUInt32LE(at) : 0;
    if (length < NLMSG_HDRLEN || at + length > datagram.length) throw malformed('message');
    yield {
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      portId: datagram.readUInt32LE(at + 12),
      payload: datagram.subarray(at + NLMSG_HDRLEN, at + length),
    };
    at += align(length);
  }
}

/**
 * Yields the attributes in `bytes`, in order, as (type without flag bits, content). Throws INTERNAL when
 * lengths do not add up.
 */
export function* attributesIn(bytes: Buffer): Generator<[type: number, content: Buffer]> {
  for (let at = 0; at + NLA_HDRLEN <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < NLA_HDRLEN || at + length > bytes.length) throw malformed('attribute');
    yield [bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + NLA_HDRLEN, at + length)];
    at += align(length);
  }
}

/**
 * Returns the attributes after a fixed header of `headerSize` bytes. Throws INTERNAL when lengths do not add
 * up.
 */
export function attributesOf(bytes: Buffer, headerSize = 0): Attributes {
  return new LazyAttributes(bytes, align(headerSize));
}

/** Creates views only on demand: of a link's fifty attributes, a reader wants fifteen. */
class LazyAttributes implements Attributes {
  readonly #bytes: Buffer;
  /** Offset of the attribute of each type. */
  readonly #starts = new Map<number, number>();

  constructor(bytes: Buffer, from: number) {
    this.#bytes = bytes;
    const size = bytes.length;
    for (let at = from; at + NLA_HDRLEN <= size; ) {
      const length = u16(bytes, at);
      if (length < NLA_HDRLEN || at + length > size) throw malformed('attribute');
      this.#starts.set(u16(bytes, at + 2) & NLA_TYPE_MASK, at);
      at += align(length);
    }
  }

  get(type: number): Buffer | undefined {
    const at = this.#starts.get(type);
    return at === undefined ? undefined : this.#bytes.subarray(at + NLA_HDRLEN, at + u16(this.#bytes, at));
  }

  has(type: number): boolean {
    return this.#starts.has(type);
  }
}

/** Takes half the time of `readUInt16LE`, which checks its arguments. The caller checks the bounds. */
function u16(bytes: Buffer, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
}

/** Decodes text up to the first zero byte. */
export function stringOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/**
 * Reads NLMSG_ERROR, or the NLMSG_DONE of a dump. The text is the kernel's extended acknowledgement, if it
 * sent one.
 */
export function verdictOf(message: Message): Verdict {
  const { type, flags, payload } = message;
  if (payload.length < 4) return { errno: 0, text: undefined };
  const errno = -payload.readInt32LE(0);
  if (!(flags & NLM_F_ACK_TLVS)) return { errno, text: undefined };
  // struct nlmsgerr: int error, then the request's header and, unless capped, its payload.
  const echoed = payload.length >= 8 ? payload.readUInt32LE(4) : 0;
  const skip = type === NLMSG_DONE ? 4 : 4 + (flags & NLM_F_CAPPED ? NLMSG_HDRLEN : align(echoed));
  const text = attributesOf(payload, skip).get(NLMSGERR_ATTR_MSG);
  return { errno, text: text && stringOf(text) };
}

function malformed(what: string): FlatnetError {
  return new FlatnetError(`the kernel sent a malformed netlink ${what}`, { code: 'INTERNAL' });
}
