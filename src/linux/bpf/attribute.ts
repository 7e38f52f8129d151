import koffi from 'koffi';
import * as sys from '../sys.ts';

/** Commands of bpf(2). */
export const COMMANDS = {
  'map create': 0,
  'map lookup': 1,
  'map update': 2,
  'map delete': 3,
  'program load': 5,
  'program attach': 8,
  'program detach': 9,
  'program run': 10,
  'program by id': 13,
  'object info': 15,
  'program query': 16,
} as const;

/** Bytes of union bpf_attr as far as it is used here. */
const SIZE = 128;

/** A union bpf_attr: fields at their offsets; what a pointer leads to stays as long as this object. */
export class Attribute {
  readonly #bytes = stable(SIZE);
  readonly #kept: Buffer[] = [];

  u32(at: number, value: number): this {
    this.#bytes.writeUInt32LE(value >>> 0, at);
    return this;
  }

  /** A pointer to memory made by `stable`. */
  pointer(at: number, to: Buffer): this {
    this.#kept.push(to);
    this.#bytes.writeBigUInt64LE(koffi.address(to), at);
    return this;
  }

  text(at: number, text: string): this {
    this.#bytes.write(text, at, 'latin1');
    return this;
  }

  /** What the kernel has written. */
  read(at: number): number {
    return this.#bytes.readUInt32LE(at);
  }

  /** Returns what the call returns. Throws SYSCALL. */
  run(command: keyof typeof COMMANDS): number {
    return sys.bpf(COMMANDS[command], this.#bytes, `bpf ${command}`);
  }
}

/** Memory that does not move, as small buffers may while the kernel knows their address. */
export function stable(size: number): Buffer {
  return Buffer.from(new ArrayBuffer(size));
}

/** The same with these bytes. */
export function stableCopy(bytes: Uint8Array | string): Buffer {
  const source = typeof bytes === 'string' ? Buffer.from(`${bytes}\0`, 'latin1') : bytes;
  const copy = stable(source.length);
  copy.set(source);
  return copy;
}
