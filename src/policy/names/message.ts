import { type Ip, ipFromBytes } from '../../ip/address.ts';

/** RFC 1035 §3.2.2 and RFC 3596 §2.1. */
const TYPE_A = 1;
const TYPE_CNAME = 5;
const TYPE_AAAA = 28;
const CLASS_IN = 1;

const HEADER = 12;
const LONGEST_NAME = 255;

/** A successful answer to a question about one name, as far as it is about addresses. */
export type DnsResponse = {
  /** The name in question. */
  readonly name: string;
  /** Of the answer section, in order. */
  readonly records: readonly DnsRecord[];
};

/** TTLs are in seconds. */
export type DnsRecord = { readonly owner: string; readonly ttl: number } & (
  | { readonly type: 'address'; readonly ip: Ip }
  | { readonly type: 'alias'; readonly target: string }
);

/**
 * Reads a response without error to a question of class IN (RFC 1035 §4) about a name that is wanted.
 * Undefined for any other message, and for one that is malformed anywhere up to the end of its answers. Names
 * are in lower case and without the last dot; whatever is not a letter, a digit, `-` or `_` is written
 * `\ddd`, so that no dot inside a label passes for one between two.
 */
export function readResponse(
  bytes: Uint8Array,
  isWanted: (name: string) => boolean,
): DnsResponse | undefined {
  try {
    return new Reader(bytes).response(isWanted);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Its methods throw RangeError where the message is not what it should be. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = HEADER;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** What nobody wants costs no more than its question. */
  response(isWanted: (name: string) => boolean): DnsResponse | undefined {
    const [flags, questions, answers] = [2, 4, 6].map((at) => this.#view.getUint16(at)) as [
      number,
      number,
      number,
    ];
    // QR is set; the opcode and RCODE are 0.
    if ((flags & 0xf80f) !== 0x8000 || questions !== 1) return undefined;
    const name = this.#name();
    this.#short();
    if (this.#short() !== CLASS_IN || !isWanted(name)) return undefined;
    const records: DnsRecord[] = [];
    for (let i = 0; i < answers; i++) {
      const record = this.#record();
      if (record) records.push(record);
    }
    return { name, records };
  }

  /** Undefined for a record of another type or class. */
  #record(): DnsRecord | undefined {
    const owner = this.#name();
    const [type, of] = [this.#short(), this.#short()];
    const written = this.#view.getUint32(this.#at);
    // RFC 2181 §8.
    const ttl = written > 0x7fffffff ? 0 : written;
    this.#at += 4;
    const length = this.#short();
    const [start, end] = [this.#at, this.#at + length];
    if (end > this.#bytes.length) throw new RangeError('a record is cut');
    this.#at = end;
    if (of !== CLASS_IN) return undefined;
    switch (type) {
      case TYPE_A:
      case TYPE_AAAA:
        if (length !== (type === TYPE_A ? 4 : 16)) throw new RangeError('an address has a wrong length');
        return { owner, ttl, type: 'address', ip: ipFromBytes(this.#bytes.subarray(start, end)) };
      case TYPE_CNAME: {
        this.#at = start;
        const target = this.#name();
        if (this.#at !== end) throw new RangeError('an alias has a wrong length');
        return { owner, ttl, type: 'alias', target };
      }
      default:
        return undefined;
    }
  }

  #short(): number {
    const value = this.#view.getUint16(this.#at);
    this.#at += 2;
    return value;
  }

  /** Each pointer leads further back than all before, so that none leads in a circle (RFC 1035 §4.1.4). */
  #name(): string {
    const labels: string[] = [];
    let [at, limit, size] = [this.#at, this.#at, 1];
    let end: number | undefined;
    for (;;) {
      const length = this.#view.getUint8(at);
      if (length >= 0xc0) {
        const target = this.#view.getUint16(at) & 0x3fff;
        if (target >= limit || target < HEADER) throw new RangeError('a pointer does not lead back');
        end ??= at + 2;
        at = limit = target;
        continue;
      }
      if (length > 0x3f) throw new RangeError('a label is of an unknown kind');
      if (length === 0) break;
      size += length + 1;
      const next = at + 1 + length;
      if (size > LONGEST_NAME || next > this.#bytes.length) throw new RangeError('a name is too long');
      labels.push(labelText(this.#bytes.subarray(at + 1, next)));
      at = next;
    }
    this.#at = end ?? at + 1;
    return labels.join('.');
  }
}

function labelText(label: Uint8Array): string {
  let text = '';
  for (const byte of label) {
    const char = String.fromCharCode(byte).toLowerCase();
    text += /^[a-z0-9_-]$/.test(char) ? char : `\\${`${byte}`.padStart(3, '0')}`;
  }
  return text;
}
