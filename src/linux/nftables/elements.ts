import { FlatnetError } from '../../error.ts';
import { type Attributes, attributesIn, attributesOf, type Request, stringOf } from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { type Data, type Element, elementCreate, elementDelete } from './element.ts';
import * as nft from './message.ts';
import { type ElementText, fieldsOf } from './values/element.ts';
import { FIELD_SIZE, type Field, fieldBytes, textOfField } from './values/field.ts';
import type { FieldTypes, SetValue, TableId } from './values/table.ts';

const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_FLAGS = 3;
const NFTA_SET_ELEM_KEY_END = 10;
const NFT_SET_ELEM_INTERVAL_END = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

/** Like `nft create element` and `nft delete element`: what `commit` takes. All elements are of one set or map. */
export function elementRequests(
  action: 'add' | 'delete',
  { family, table }: TableId,
  set: SetValue,
  elements: readonly ElementText[],
): Request[] {
  const name = { family, table, set: set.name };
  if (action === 'add')
    return elementCreate(
      name,
      elements.map((element) => encode(set, element)),
    );
  return elementDelete(
    name,
    elements.map(({ key }) => encode(set, { set: set.name, key })),
  );
}

/** What a set or map of this declaration holds, in no particular order; nothing when there is none. */
export async function readElements(
  socket: NetlinkSocket,
  { family, table }: TableId,
  set: SetValue,
): Promise<ElementText[]> {
  const parts = await socket.dump({
    ...nft.query({ family, table }, nft.NFT_MSG_GETSETELEM, `set ${set.name}`),
    payload: nft
      .nftWriter(family)
      .string(nft.NFTA_TABLE_NAME, table)
      .string(nft.NFTA_SET_ELEM_LIST_SET, set.name)
      .finish(),
    decode: (message) => {
      const list = nft.nftAttributes(message).get(nft.NFTA_SET_ELEM_LIST_ELEMENTS);
      return list && [...attributesIn(list)].map(([, bytes]) => rawElement(attributesOf(bytes)));
    },
  });
  const raw = parts.flat();
  const isTree = set.interval && set.key.length === 1;
  return (isTree ? ranges(raw) : raw).map((element) => decode(set, element));
}

function encode(set: SetValue, { key, data }: ElementText): Element {
  const bounds = fieldsOf(key).map((text, i) => fieldBytes(set.key[i] ?? set.key[0], text));
  return {
    key: bounds.map(({ first }) => first),
    ...(set.interval && { last: bounds.map(({ first, last }) => last ?? first) }),
    ...(data !== undefined && { data: encodeData(set.data, data) }),
  };
}

function encodeData(type: SetValue['data'], text: string): Data {
  if (type !== 'verdict' && type !== undefined) {
    return fieldsOf(text).map((field, i) => fieldBytes(type[i] ?? type[0], field).first);
  }
  const [verdict = '', chain] = text.split(' ');
  if (!nft.isVerdict(verdict)) throw new FlatnetError(`'${text}' is no verdict`, { code: 'INTERNAL' });
  return { verdict, chain };
}

/** One element as the kernel shows it, in bytes it may use again. */
type Raw = {
  readonly key: Buffer;
  readonly end: Buffer;
  readonly data?: string | Buffer;
  readonly closes: boolean;
};

function rawElement(attributes: Attributes): Raw {
  const key = Buffer.from(valueIn(attributes.get(nft.NFTA_SET_ELEM_KEY)) ?? []);
  const end = valueIn(attributes.get(NFTA_SET_ELEM_KEY_END));
  const flags = attributes.get(NFTA_SET_ELEM_FLAGS)?.readUInt32BE() ?? 0;
  const data = dataOf(attributes.get(NFTA_SET_ELEM_DATA));
  return {
    key,
    end: end ? Buffer.from(end) : key,
    ...(data !== undefined && { data }),
    closes: (flags & NFT_SET_ELEM_INTERVAL_END) !== 0,
  };
}

function dataOf(content: Buffer | undefined): string | Buffer | undefined {
  if (!content) return undefined;
  const parts = attributesOf(content);
  const verdict = parts.get(NFTA_DATA_VERDICT);
  if (!verdict) return Buffer.from(parts.get(nft.NFTA_DATA_VALUE) ?? []);
  const { code, chain } = verdictOf(verdict);
  return chain === undefined ? code : `${code} ${chain}`;
}

function verdictOf(content: Buffer): { code: string; chain: string | undefined } {
  const parts = attributesOf(content);
  const chain = parts.get(NFTA_VERDICT_CHAIN);
  const code = parts.get(NFTA_VERDICT_CODE)?.readInt32BE();
  const [name = 'unknown'] = Object.entries(nft.VERDICTS).find(([, each]) => each === code) ?? [];
  return { code: name, chain: chain && stringOf(chain) };
}

/** Ranges of a tree are pairs: a first key, and the first key after it. One without an end goes to the end of all keys. */
function ranges(elements: readonly Raw[]): Raw[] {
  const sorted = [...elements].sort(
    (a, b) => Buffer.compare(a.key, b.key) || Number(b.closes) - Number(a.closes),
  );
  return sorted.flatMap((start, i) => {
    if (start.closes) return [];
    const next = sorted[i + 1];
    return [{ ...start, end: next ? before(next.key) : Buffer.alloc(start.key.length, 0xff) }];
  });
}

function before(key: Buffer): Buffer {
  const result = Buffer.from(key);
  for (let i = result.length - 1; i >= 0; i--) {
    result[i] = ((result[i] ?? 0) + 0xff) & 0xff;
    if (result[i] !== 0xff) break;
  }
  return result;
}

function decode(set: SetValue, { key, end, data }: Raw): ElementText {
  const text = fieldTexts(set.key, key, end);
  if (data === undefined) return { set: set.name, key: text };
  const value =
    typeof data === 'string' || set.data === 'verdict' || set.data === undefined
      ? String(data)
      : fieldTexts(set.data, data, data);
  return { set: set.name, key: text, data: value };
}

function fieldTexts(types: FieldTypes, first: Buffer, last: Buffer): string {
  let at = 0;
  const texts = types.map((type) => {
    const size = FIELD_SIZE[type];
    const field = (bytes: Buffer): Field => bytes.subarray(at, at + size);
    const text = textOfField(type, field(first), field(last));
    at += (size + 3) & ~3;
    return text;
  });
  return texts.join(' . ');
}

function valueIn(content: Buffer | undefined): Buffer | undefined {
  return content && attributesOf(content).get(nft.NFTA_DATA_VALUE);
}
