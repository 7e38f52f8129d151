// FNV-1a over a text's UTF-8 bytes: shortens names, with the same result on every node.

/** 0 … 2³²−1. */
export function fnv32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** 0 … 2⁶⁴−1. `rounds`: how many times the text is hashed in succession. */
export function fnv64(text: string, rounds: number): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let round = 0; round < rounds; round++) {
    for (const byte of new TextEncoder().encode(text)) {
      hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
    }
  }
  return hash;
}
