import { type Attributes, attributesIn, attributesOf, stringOf } from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { readDevices } from './flowtable.ts';
import * as nft from './message.ts';
import type { ElementText } from './values/element.ts';
import { FIELD_SIZE, type Field, textOfField } from './values/field.ts';
import { type FieldTypes, type Holder, isFlowtable, type SetValue, type TableId } from './values/table.ts';

/**
 * Reads the elements of a set or map, in no particular order; none if it does not exist. `set` must be its
 * declaration.
 */
export async function readElements(
  socket: NetlinkSocket,
  { family, table }: TableId,
  set: Holder,
): Promise<ElementText[]> {
  if (isFlowtable(set)) return readDevices(socket, { family, table }, set);
  const raw = await dumpElements(socket, { family, table }, set, rawElement);
  const isTree = set.interval && set.key.length === 1;
  const elements = (isTree ? ranges(raw) : raw).map((element) => decode(set, element));
  // The kernel may list an element twice while it resizes the hash table.
  return [...new Map(elements.map((element) => [element.key, element])).values()];
}

/** An element's key, and what it has counted. */
export type ElementCount = { readonly key: string; readonly packets: bigint; readonly bytes: bigint };

/** Reads the elements of a set whose rules, or that itself, count packets, in no particular order. */
export async function readCounts(
  socket: NetlinkSocket,
  table: TableId,
  set: SetValue,
): Promise<ElementCount[]> {
  return await dumpElements(socket, table, set, (attributes) => ({
    key: decode(set, rawElement(attributes)).key,
    ...countIn(attributes.get(nft.NFTA_SET_ELEM_EXPR)),
  }));
}

function countIn(expression: Buffer | undefined): Omit<ElementCount, 'key'> {
  const data = expression && attributesOf(expression).get(nft.NFTA_EXPR_DATA);
  const counter = data && attributesOf(data);
  return {
    packets: counter?.get(NFTA_COUNTER_PACKETS)?.readBigUInt64BE() ?? 0n,
    bytes: counter?.get(NFTA_COUNTER_BYTES)?.readBigUInt64BE() ?? 0n,
  };
}

async function dumpElements<T>(
  socket: NetlinkSocket,
  { family, table }: TableId,
  set: SetValue,
  of: (attributes: Attributes) => T,
): Promise<T[]> {
  const parts = await socket.dump({
    ...nft.query({ family, table }, nft.NFT_MSG_GETSETELEM, `set ${set.name}`),
    payload: nft
      .nftWriter(family)
      .string(nft.NFTA_TABLE_NAME, table)
      .string(nft.NFTA_SET_ELEM_LIST_SET, set.name)
      .finish(),
    decode: (message) => {
      const list = nft.nftAttributes(message).get(nft.NFTA_SET_ELEM_LIST_ELEMENTS);
      return list && [...attributesIn(list)].map(([, bytes]) => of(attributesOf(bytes)));
    },
  });
  return parts.flat();
}

/** linux/netfilter/nf_tables.h. */
const NFTA_COUNTER_BYTES = 1;
const NFTA_COUNTER_PACKETS = 2;

/** One element as the kernel dumps it. */
type Raw = {
  readonly key: Buffer;
  readonly end: Buffer;
  readonly data?: string | Buffer;
  readonly closes: boolean;
};

function rawElement(attributes: Attributes): Raw {
  const key = Buffer.from(valueIn(attributes.get(nft.NFTA_SET_ELEM_KEY)) ?? []);
  const end = valueIn(attributes.get(nft.NFTA_SET_ELEM_KEY_END));
  const flags = attributes.get(nft.NFTA_SET_ELEM_FLAGS)?.readUInt32BE() ?? 0;
  const data = dataOf(attributes.get(nft.NFTA_SET_ELEM_DATA));
  return {
    key,
    end: end ? Buffer.from(end) : key,
    ...(data !== undefined && { data }),
    closes: (flags & nft.NFT_SET_ELEM_INTERVAL_END) !== 0,
  };
}

function dataOf(content: Buffer | undefined): string | Buffer | undefined {
  if (!content) return undefined;
  const parts = attributesOf(content);
  const verdict = parts.get(nft.NFTA_DATA_VERDICT);
  if (!verdict) return Buffer.from(parts.get(nft.NFTA_DATA_VALUE) ?? []);
  const { code, chain } = verdictOf(verdict);
  return chain === undefined ? code : `${code} ${chain}`;
}

function verdictOf(content: Buffer): { code: string; chain: string | undefined } {
  const parts = attributesOf(content);
  const chain = parts.get(nft.NFTA_VERDICT_CHAIN);
  const code = parts.get(nft.NFTA_VERDICT_CODE)?.readInt32BE();
  const [name = 'unknown'] = Object.entries(nft.VERDICTS).find(([, each]) => each === code) ?? [];
  return { code: name, chain: chain && stringOf(chain) };
}

/**
 * Pairs the start and end elements of single-field ranges: the kernel dumps a range as its first key and the
 * first key beyond it. Without the latter it is open-ended.
 */
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
