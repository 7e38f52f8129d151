/**
 * A rule's four-byte registers, overlaid by the sixteen-byte registers of older rules. Tracks which of them
 * hold known values.
 */
export class Registers {
  readonly #bytes = Buffer.alloc(64);
  readonly #known = new Array<boolean>(16).fill(false);

  /** Writes a value; undefined marks it as unknown. */
  write(register: number, value: Uint8Array | undefined, length = value?.length ?? 16): void {
    const at = place(register);
    const words = Math.ceil(length / 4);
    this.#known.fill(value !== undefined, at, at + words);
    this.#bytes.fill(0, 4 * at, 4 * (at + words));
    if (value) this.#bytes.set(value, 4 * at);
  }

  /** Reads a value; undefined unless all of it is known. */
  read(register: number, length: number): Buffer | undefined {
    const at = place(register);
    if (!this.#known.slice(at, at + Math.ceil(length / 4)).every(Boolean)) return undefined;
    return this.#bytes.subarray(4 * at, 4 * at + length);
  }
}

/** NFT_REG_1 to 4 are sixteen bytes long, those from NFT_REG32_00 (8) on are four. */
function place(register: number): number {
  return register < 8 ? 4 * (register - 1) : register - 8;
}
