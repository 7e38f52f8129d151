import type { Compare, KeyRange, KeyValue, Operation, TransactionResult, WatchEvent } from './kv.ts';

// etcd's JSON gateway uses protobuf's JSON mapping: bytes as base64, int64 as decimal strings, zero values
// omitted, field names as in rpc.proto.

export type Json = { readonly [name: string]: unknown };

export function encodeBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}

export function decodeBytes(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '';
}

/** An int64 that fits a double: revisions, versions, counts, seconds. */
export function decodeNumber(value: unknown): number {
  return Number(value ?? 0);
}

/** The `key` and `range_end` of a range, or of all keys that start with a prefix. */
export function rangeOf(keys: string | KeyRange): { key: string; range_end: string } {
  if (typeof keys !== 'string') return { key: encodeBytes(keys.from), range_end: encodeBytes(keys.to) };
  const { key, end } = prefixRange(Buffer.from(keys, 'utf8'));
  return { key: key.toString('base64'), range_end: end.toString('base64') };
}

/**
 * Returns the half-open range of keys that start with `prefix`: the end is the prefix with its last byte
 * incremented, after dropping trailing 0xff bytes, which have no successor. A prefix of only 0xff bytes has
 * the end `\0`: "all keys from here on". An empty prefix means all keys, which etcd writes as `\0`…`\0`
 * because it rejects empty keys.
 */
export function prefixRange(prefix: Uint8Array): { key: Buffer; end: Buffer } {
  const key = Buffer.from(prefix.length ? prefix : [0]);
  const end = Buffer.from(prefix);
  for (let last = end.length - 1; last >= 0; last--) {
    const byte = end[last] ?? 0xff;
    if (byte === 0xff) continue;
    end[last] = byte + 1;
    return { key, end: end.subarray(0, last + 1) };
  }
  return { key, end: Buffer.from([0]) };
}

export function decodeKeyValue(value: unknown): KeyValue {
  const kv = asJson(value);
  return {
    key: decodeBytes(kv.key),
    value: decodeBytes(kv.value),
    createRevision: decodeNumber(kv.create_revision),
    modRevision: decodeNumber(kv.mod_revision),
    version: decodeNumber(kv.version),
    lease: typeof kv.lease === 'string' ? kv.lease : '0',
  };
}

const TARGETS = {
  version: { target: 'VERSION', field: 'version' },
  createRevision: { target: 'CREATE', field: 'create_revision' },
  modRevision: { target: 'MOD', field: 'mod_revision' },
} as const;

export function encodeCompare(compare: Compare): Json {
  const common = { key: encodeBytes(compare.key), result: 'EQUAL' };
  if (compare.target === 'value') return { ...common, target: 'VALUE', value: encodeBytes(compare.equals) };
  const { target, field } = TARGETS[compare.target];
  return { ...common, target, [field]: String(compare.equals) };
}

export function encodeOperation(operation: Operation): Json {
  const key = encodeBytes(operation.key);
  if (operation.op === 'get') return { request_range: { key } };
  if (operation.op === 'delete') return { request_delete_range: { key } };
  return { request_put: { key, value: encodeBytes(operation.value), lease: operation.lease ?? '0' } };
}

export function decodeTransaction(value: unknown): TransactionResult {
  const answer = asJson(value);
  return {
    succeeded: answer.succeeded === true,
    revision: revisionOf(answer),
    results: asList(answer.responses).map((response) => {
      const { response_range, response_delete_range } = asJson(response);
      if (response_range) return { items: asList(asJson(response_range).kvs).map(decodeKeyValue) };
      if (response_delete_range) return { deleted: decodeNumber(asJson(response_delete_range).deleted) };
      return {};
    }),
  };
}

export function decodeEvent(value: unknown): WatchEvent {
  const event = asJson(value);
  const item = decodeKeyValue(event.kv);
  return event.type === 'DELETE' ? { type: 'delete', key: item.key } : { type: 'put', item };
}

/** The revision of the event. */
export function eventRevision(value: unknown): number {
  return decodeNumber(asJson(asJson(value).kv).mod_revision);
}

export function revisionOf(answer: Json): number {
  return decodeNumber(asJson(answer.header).revision);
}

export function asJson(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
