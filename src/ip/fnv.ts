const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** FNV-1a of the UTF-8: a short name for a long one, the same on every node. 0 … 2³²−1. */
export function fnv32(text: string): number {
  let hash = OFFSET;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, PRIME);
  return hash >>> 0;
}
