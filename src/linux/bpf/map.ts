import { closeSync, readFileSync } from 'node:fs';
import { Attribute, stable, stableCopy } from './attribute.ts';

/** linux/bpf.h. `lpm-trie`: keys are a length in bits, in host byte order, and that many bits. */
const TYPES = { hash: 1, 'per-cpu array': 6, 'lpm-trie': 11 } as const;
/** Memory is taken for entries as they come; of a trie it must be. */
const NO_PREALLOC = 1;

export type MapShape = {
  readonly type: keyof typeof TYPES;
  /** Up to 15 bytes. */
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly capacity: number;
};

/** A map that programs in the kernel share with this process (bpf(2)). Lives as long as one of both does. */
export class BpfMap implements Disposable {
  readonly fd: number;
  readonly capacity: number;
  readonly #key: Buffer;
  readonly #value: Buffer;

  /** Throws SYSCALL. */
  constructor({ type, name, keySize, valueSize, capacity }: MapShape) {
    this.capacity = capacity;
    this.#key = stable(keySize);
    this.#value = stable(
      type === 'per-cpu array' ? 8 * Math.ceil(valueSize / 8) * possibleCpus() : valueSize,
    );
    this.fd = new Attribute()
      .u32(0, TYPES[type])
      .u32(4, keySize)
      .u32(8, valueSize)
      .u32(12, capacity)
      .u32(16, type === 'per-cpu array' ? 0 : NO_PREALLOC)
      .text(28, name)
      .run('map create');
  }

  /** Throws SYSCALL, with E2BIG or ENOSPC if it is full. */
  set(key: Uint8Array, value: Uint8Array): void {
    this.#entry(key).pointer(16, stableCopy(value)).run('map update');
  }

  /** Throws SYSCALL, with ENOENT if there is none. */
  delete(key: Uint8Array): void {
    this.#entry(key).run('map delete');
  }

  /** The value, of a per-CPU map one behind another, which the next call overwrites. Throws SYSCALL. */
  get(key: Uint8Array): Buffer {
    this.#entry(key).pointer(16, this.#value).run('map lookup');
    return this.#value;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }

  #entry(key: Uint8Array): Attribute {
    this.#key.set(key);
    return new Attribute().u32(0, this.fd).pointer(8, this.#key);
  }
}

/** Like `0-3`: as many processors as this machine could ever have. */
function possibleCpus(): number {
  return Number(/\d+$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim())?.[0] ?? 0) + 1;
}
