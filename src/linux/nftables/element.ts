import { FlatnetError } from '../../error.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type Request, type Writer } from '../netlink/message.ts';
import {
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWSETELEM,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  nftType,
  nftWriter,
  type TableId,
  VERDICTS,
  type VerdictName,
} from './message.ts';
import type { Field } from './values/field.ts';

const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_FLAGS = 3;
const NFTA_SET_ELEM_TIMEOUT = 4;
const NFTA_SET_ELEM_KEY_END = 10;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;
const NFT_SET_ELEM_INTERVAL_END = 1;

/** All elements of a message are in one attribute, which holds at most 64 KiB. */
const ELEMENTS_PER_MESSAGE = 300;

/** A set or map, as `nft` writes it: `inet flatnet-pods nodes`. */
export type SetName = TableId & { readonly set: string };

/** What a map has for a key: the fields of a value, or a verdict. */
export type Data = readonly Field[] | { readonly verdict: VerdictName; readonly chain?: string | undefined };

/** An element of a set, or of a map if it has data, as bytes. */
export type Element = {
  /** One field, or those of a concatenation. */
  readonly key: readonly Field[];
  /** Of sets with `flags interval`: the last key of the range, itself included. Default there: a range of one. */
  readonly last?: readonly Field[] | undefined;
  /** Of a map. */
  readonly data?: Data | undefined;
  /** Milliseconds. */
  readonly timeout?: number | undefined;
};

/**
 * Like `nft add element FAMILY TABLE SET { … }`; nothing for elements that are there already, EEXIST for a key of a map
 * that is there with other data. Commit with `commit`.
 */
export function elementAdd(set: SetName, elements: readonly Element[]): Request[] {
  return requests('nft add element', NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, elements);
}

/**
 * Like `nft create element`: EEXIST for what is there already. Only so does the kernel refuse a range that begins like
 * another one and ends elsewhere: else it would cut the other off (nft_rbtree).
 */
export function elementCreate(set: SetName, elements: readonly Element[]): Request[] {
  return requests('nft create element', NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, set, elements);
}

/** Like `nft delete element FAMILY TABLE SET { … }`. ENOENT when one is not there. */
export function elementDelete(set: SetName, elements: readonly Element[]): Request[] {
  return requests('nft delete element', NFT_MSG_DELSETELEM, 0, set, elements);
}

function requests(
  operation: string,
  command: number,
  flags: number,
  set: SetName,
  elements: readonly Element[],
): Request[] {
  const count = Math.ceil(elements.length / ELEMENTS_PER_MESSAGE);
  return Array.from({ length: count }, (_, i) => {
    const part = elements.slice(i * ELEMENTS_PER_MESSAGE, (i + 1) * ELEMENTS_PER_MESSAGE);
    return {
      operation,
      object: `${set.family} ${set.table} ${set.set}`,
      type: nftType(command),
      flags,
      payload: nftWriter(set.family)
        .string(NFTA_SET_ELEM_LIST_TABLE, set.table)
        .string(NFTA_SET_ELEM_LIST_SET, set.set)
        .nested(NFTA_SET_ELEM_LIST_ELEMENTS, (writer) => {
          for (const element of part) writeElement(writer, element);
        })
        .finish(),
    };
  });
}

function writeElement(writer: Writer, { key, last, data, timeout }: Element): void {
  const isConcatenation = key.length > 1;
  writer.nested(NFTA_LIST_ELEM, () => {
    writeValue(writer, NFTA_SET_ELEM_KEY, concatenate(key));
    if (last && isConcatenation) writeValue(writer, NFTA_SET_ELEM_KEY_END, concatenate(last));
    if (data) writeData(writer, data);
    if (timeout !== undefined) writer.be64(NFTA_SET_ELEM_TIMEOUT, BigInt(timeout));
  });
  // A range of single fields is two elements: its first key, and the first key after it. No key is after the last of all.
  const next = last && !isConcatenation ? successor(concatenate(last)) : undefined;
  if (!next) return;
  writer.nested(NFTA_LIST_ELEM, () => {
    writeValue(writer, NFTA_SET_ELEM_KEY, next);
    writer.be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  });
}

function writeData(writer: Writer, data: Data): void {
  if (!('verdict' in data)) {
    writeValue(writer, NFTA_SET_ELEM_DATA, concatenate(data));
    return;
  }
  writer.nested(NFTA_SET_ELEM_DATA, () =>
    writer.nested(NFTA_DATA_VERDICT, () =>
      writer.be32(NFTA_VERDICT_CODE, VERDICTS[data.verdict] >>> 0).string(NFTA_VERDICT_CHAIN, data.chain),
    ),
  );
}

function writeValue(writer: Writer, type: number, value: Uint8Array): void {
  writer.nested(type, () => writer.bytes(NFTA_DATA_VALUE, value));
}

/** The fields of a concatenation each fill whole 32-bit registers; a single field has its own length. */
function concatenate(fields: readonly Field[]): Uint8Array {
  const [only] = fields;
  if (!only) throw new FlatnetError('an nftables key has no fields', { code: 'INTERNAL' });
  if (fields.length === 1) return only;
  return Buffer.concat(fields.map((field) => Buffer.concat([field], (field.length + 3) & ~3)));
}

/** The number after it, or undefined after the greatest. */
function successor(key: Uint8Array): Uint8Array | undefined {
  const next = Uint8Array.from(key);
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = ((next[i] ?? 0) + 1) & 0xff;
    if (next[i] !== 0) return next;
  }
  return undefined;
}
