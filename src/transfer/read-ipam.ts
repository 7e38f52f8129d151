import type { Fields } from '../cluster/fields.ts';
import { isNodeName } from '../cluster/names.ts';
import { messageOf } from '../error.ts';
import { BITS, familyOf } from '../ip/address.ts';
import { type Cidr, lengthOf, parseCidr } from '../ip/cidr.ts';
import { type Affinity, type Block, isAffinityState } from '../store/ports/blocks.ts';
import { readBlock } from '../store/values/blocks.ts';

/** Bits of the largest block. */
const LARGEST = 12;
/** Characters of the longest handle that every store takes. */
const LONGEST_HANDLE = 1024;

/** A block that every store takes. Throws CONFIG_INVALID naming the field. */
export function readCheckedBlock(fields: Fields): Block {
  // Before the addresses are counted.
  readCidr(fields);
  const block = wellRead(fields);
  fields.refuseUnread();
  checkName(fields, 'node', block.node);
  for (const { handle, node } of block.allocations.values()) {
    checkName(fields, 'allocations', node);
    if (handle === '' || handle.length > LONGEST_HANDLE) {
      throw fields.invalid('allocations', `a handle has ${handle.length} characters`);
    }
  }
  return block;
}

/** Throws CONFIG_INVALID naming the field. */
export function readAffinity(fields: Fields): Affinity {
  const node = checkName(fields, 'node', fields.string('node') ?? '');
  const cidr = readCidr(fields);
  const state = fields.string('state') ?? '';
  if (!isAffinityState(state)) throw fields.invalid('state', `'${state}' must be pending or confirmed`);
  fields.refuseUnread();
  return { node, cidr, state };
}

/** `readBlock` names entries without the block they are in. */
function wellRead(fields: Fields): Block {
  try {
    return readBlock(fields);
  } catch (error) {
    throw fields.invalid('cidr', `${fields.string('cidr')}: ${messageOf(error)}`, error);
  }
}

function readCidr(fields: Fields): Cidr {
  const cidr = fields.parsed('cidr', parseCidr);
  if (cidr === undefined) throw fields.invalid('cidr', 'is missing');
  if (cidr !== fields.string('cidr')) throw fields.invalid('cidr', `must be written as ${cidr}`);
  if (BITS[familyOf(cidr)] - lengthOf(cidr) <= LARGEST) return cidr;
  throw fields.invalid('cidr', `${cidr} is larger than any block`);
}

function checkName(fields: Fields, field: string, name: string): string {
  if (isNodeName(name)) return name;
  throw fields.invalid(field, `'${name}' is not the name of a node`);
}
