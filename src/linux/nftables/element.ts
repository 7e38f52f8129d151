import { FlatnetError } from '../../error.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type Request, type Writer } from '../netlink/message.ts';
import { flowtableRequests } from './flowtable.ts';
import * as nft from './message.ts';
import { type ElementText, fieldsOf, type PassingElement } from './values/element.ts';
import { type Field, fieldBytes } from './values/field.ts';
import {
  type FieldTypes,
  type Holder,
  isFlowtable,
  type SetValue,
  type TableId,
  tableName,
} from './values/table.ts';

const NFTA_SET_ELEM_LIST_TABLE = 1;

/** All elements of a message share one attribute, which holds at most 64 KiB. */
export const ELEMENTS_PER_MESSAGE = 300;

/**
 * Like `nft create element FAMILY TABLE SET { … }`: EEXIST for an existing element. `add` would let a range
 * truncate another one that begins at the same key (nft_rbtree). All elements belong to `set`. Send with
 * `commit`.
 */
export function elementCreate(table: TableId, set: Holder, elements: readonly ElementText[]): Request[] {
  if (isFlowtable(set)) return flowtableRequests('add', table, set, elements);
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  return requests('nft create element', nft.NFT_MSG_NEWSETELEM, flags, table, set, elements);
}

/**
 * Like `nft add element FAMILY TABLE SET { … timeout … }`: an existing element stays as it is. Send with
 * `commit`. ENFILE if the set is full.
 */
export function elementAdd(table: TableId, set: SetValue, elements: readonly PassingElement[]): Request[] {
  return requests('nft add element', nft.NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, set, elements);
}

/** Like `nft delete element FAMILY TABLE SET { … }`, by key. ENOENT for a missing one. */
export function elementDelete(table: TableId, set: Holder, elements: readonly ElementText[]): Request[] {
  if (isFlowtable(set)) return flowtableRequests('delete', table, set, elements);
  const keys = elements.map(({ key }) => ({ set: set.name, key }));
  return requests('nft delete element', nft.NFT_MSG_DELSETELEM, 0, table, set, keys);
}

function requests(
  operation: string,
  command: number,
  flags: number,
  table: TableId,
  set: SetValue,
  elements: readonly (ElementText | PassingElement)[],
): Request[] {
  const count = Math.ceil(elements.length / ELEMENTS_PER_MESSAGE);
  return Array.from({ length: count }, (_, i) => ({
    operation,
    object: `${tableName(table)} ${set.name}`,
    type: nft.nftType(command),
    flags,
    payload: nft
      .nftWriter(table.family)
      .string(NFTA_SET_ELEM_LIST_TABLE, table.table)
      .string(nft.NFTA_SET_ELEM_LIST_SET, set.name)
      .nested(nft.NFTA_SET_ELEM_LIST_ELEMENTS, (writer) => {
        const part = elements.slice(i * ELEMENTS_PER_MESSAGE, (i + 1) * ELEMENTS_PER_MESSAGE);
        for (const element of part) writeElement(writer, set, element);
      })
      .finish(),
  }));
}

function writeElement(writer: Writer, set: SetValue, element: ElementText | PassingElement): void {
  const { key, data } = element;
  const fields = bytesOf(set.key, key);
  const first = concatenate(fields.map((each) => each.first));
  const last = set.interval ? concatenate(fields.map((each) => each.last ?? each.first)) : undefined;
  const isConcatenation = fields.length > 1;
  writer.nested(nft.NFTA_LIST_ELEM, () => {
    writeValue(writer, nft.NFTA_SET_ELEM_KEY, first);
    if (last && isConcatenation) writeValue(writer, nft.NFTA_SET_ELEM_KEY_END, last);
    if (data !== undefined) writeData(writer, set.data, data);
    if ('timeout' in element) writer.be64(nft.NFTA_SET_ELEM_TIMEOUT, BigInt(element.timeout));
  });
  // A range of a single field is two elements: its first key, and the first key beyond it, if any.
  const next = last && !isConcatenation ? successor(last) : undefined;
  if (!next) return;
  writer.nested(nft.NFTA_LIST_ELEM, () => {
    writeValue(writer, nft.NFTA_SET_ELEM_KEY, next);
    writer.be32(nft.NFTA_SET_ELEM_FLAGS, nft.NFT_SET_ELEM_INTERVAL_END);
  });
}

function writeData(writer: Writer, type: SetValue['data'], text: string): void {
  if (type !== 'verdict' && type !== undefined) {
    const value = concatenate(bytesOf(type, text).map(({ first }) => first));
    writeValue(writer, nft.NFTA_SET_ELEM_DATA, value);
    return;
  }
  const [verdict = '', chain] = text.split(' ');
  if (!nft.isVerdict(verdict)) throw new FlatnetError(`'${text}' is not a verdict`, { code: 'INTERNAL' });
  writer.nested(nft.NFTA_SET_ELEM_DATA, () =>
    writer.nested(nft.NFTA_DATA_VERDICT, () =>
      writer.be32(nft.NFTA_VERDICT_CODE, nft.VERDICTS[verdict] >>> 0).string(nft.NFTA_VERDICT_CHAIN, chain),
    ),
  );
}

function writeValue(writer: Writer, type: number, value: Uint8Array): void {
  writer.nested(type, () => writer.bytes(nft.NFTA_DATA_VALUE, value));
}

function bytesOf(types: FieldTypes, text: string) {
  return fieldsOf(text).map((field, i) => fieldBytes(types[i] ?? types[0], field));
}

/** Pads each field of a concatenation to whole 32-bit registers; a single field keeps its length. */
function concatenate(fields: readonly Field[]): Uint8Array {
  const [only] = fields;
  if (only && fields.length === 1) return only;
  return Buffer.concat(fields.map((field) => Buffer.concat([field], (field.length + 3) & ~3)));
}

/** Returns the key plus one; undefined for the greatest key. */
function successor(key: Uint8Array): Uint8Array | undefined {
  const next = Uint8Array.from(key);
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = ((next[i] ?? 0) + 1) & 0xff;
    if (next[i] !== 0) return next;
  }
  return undefined;
}
