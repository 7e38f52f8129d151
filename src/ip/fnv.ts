// FNV-1a over a text's UTF-8 bytes: shortens names, with the same result on every node.

/** 0 … 2³²−1. */
export function fnv32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Upper and lower half of a 64-bit hash, each 0 … 2³²−1. */
export type Fnv64 = { readonly high: number; readonly low: number };

/** `rounds`: how many times the text is hashed in succession. */
export function fnv64(text: string, rounds: number): Fnv64 {
  const bytes = new TextEncoder().encode(text);
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let round = 0; round < rounds; round++) {
    for (const byte of bytes) {
      // Times 2⁴⁰ + 0x1b3. No intermediate result has more than 53 bits.
      const mixed = (low ^ byte) >>> 0;
      const product = mixed * 0x1b3;
      low = product >>> 0;
      high = (high * 0x1b3 + Math.floor(product / 2 ** 32) + ((mixed << 8) >>> 0)) >>> 0;
    }
  }
  return { high, low };
}
