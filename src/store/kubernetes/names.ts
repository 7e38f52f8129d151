import { createHash } from 'node:crypto';
import type { Cidr } from '../../ip/cidr.ts';

/** The longest name of an object. */
const LONGEST = 253;

/**
 * A network as the name of an object, which may only have letters, digits, `-` and `.`, and begins with one
 * of the former: `10-0-0-0-26`, `fd00--40-122`, `0--40-122`. No two networks have the same.
 */
export function cidrName(cidr: Cidr): string {
  const name = cidr.replace(/[.:/]/g, '-');
  return name.startsWith('-') ? `0${name}` : name;
}

/** `node1.10-0-0-0-26`. Of a node whose name leaves no room, its hash. */
export function affinityName(node: string, cidr: Cidr): string {
  const name = `${node}.${cidrName(cidr)}`;
  return name.length <= LONGEST ? name : `${hashOf(node)}.${cidrName(cidr)}`;
}

/** A handle may contain any character, and be of any length. */
export function handleName(id: string): string {
  return hashOf(id);
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 40);
}
