import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { FlatnetError } from '../../error.ts';
import type { Block, Handle, IpamConfig } from '../ports/blocks.ts';
import { readBlock, readConfig, readHandle } from '../values/blocks.ts';

export function encodeBlock(block: Block): string {
  const allocations = [...block.allocations].map(([ordinal, allocation]) => ({ ordinal, ...allocation }));
  const { cidr, node, sequence, changed, released } = block;
  return JSON.stringify({ cidr, node, sequence, changed, allocations, released: [...released] });
}

/** Throws CONFIG_INVALID naming the field. */
export function decodeBlock(text: string): Block {
  return readBlock(fieldsOf(text));
}

export function encodeHandle(handle: Handle): string {
  return JSON.stringify(handle);
}

/** Throws CONFIG_INVALID naming the field. */
export function decodeHandle(text: string): Handle {
  return readHandle(fieldsOf(text));
}

export function encodeConfig(config: IpamConfig): string {
  return JSON.stringify(config);
}

/** Throws CONFIG_INVALID naming the field. */
export function decodeConfig(text: string): IpamConfig {
  return readConfig(fieldsOf(text));
}

function fieldsOf(text: string): Fields {
  let value: unknown;
  try {
    value = parseForeignJson(text);
  } catch (cause) {
    throw new FlatnetError('is not JSON', { code: 'CONFIG_INVALID', cause });
  }
  return new Fields(value);
}
