import { etcdError, unsupported } from './errors.ts';
import type { Message } from './message.ts';

/** One key, or those from `key` up to, excluding, `end`; a single zero byte means no upper bound. */
export type KeyRange = { readonly key: Buffer; readonly end: Buffer | undefined };
export type RangeRequest = KeyRange & {
  readonly limit: number;
  readonly revision: number;
  readonly minModRevision: number;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
};
export type RangeResult = { readonly rows: readonly Row[]; readonly count: number; readonly more: boolean };
export type PutRequest = { readonly key: Buffer; readonly value: Buffer; readonly lease: string };
export type DeleteRequest = KeyRange;
export type CompareRequest =
  | { readonly key: Buffer; readonly target: 'created' | 'modified' | 'version'; readonly equals: number }
  | { readonly key: Buffer; readonly target: 'value'; readonly equals: Buffer };
export type Operation =
  | { readonly type: 'range'; readonly range: RangeRequest }
  | { readonly type: 'put'; readonly put: PutRequest }
  | { readonly type: 'delete'; readonly delete: DeleteRequest };
export type OperationResult =
  | { readonly type: 'range'; readonly range: RangeResult }
  | { readonly type: 'put' }
  | { readonly type: 'delete'; readonly deleted: number };
export type TransactionRequest = {
  readonly compare: readonly CompareRequest[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
};
export type TransactionResult = { readonly succeeded: boolean; readonly results: readonly OperationResult[] };
export type WatchRequest = KeyRange & {
  readonly from: number;
  readonly progress: boolean;
  readonly id: string;
};

/** A key's newest state. */
export type Row = {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly created: number;
  readonly modified: number;
  readonly version: number;
  readonly lease: string;
};
/** A key's state after a revision; version 0 means deleted. */
export type Change = Row;

// etcd's limits: --max-txn-ops and --max-request-bytes.
const MAX_OPERATIONS = 128;
const MAX_REQUEST_BYTES = 1.5 * 1024 * 1024;

export function readRange(message: Message): RangeRequest {
  message.refuse(
    'sort_order',
    'sort_target',
    'max_mod_revision',
    'min_create_revision',
    'max_create_revision',
  );
  return {
    ...readKeyRange(message),
    limit: message.number('limit'),
    revision: message.number('revision'),
    minModRevision: message.number('min_mod_revision'),
    keysOnly: message.flag('keys_only'),
    countOnly: message.flag('count_only'),
  };
}

export function readPut(message: Message): PutRequest {
  message.refuse('prev_kv', 'ignore_value', 'ignore_lease');
  const put = { key: readKey(message), value: message.bytes('value'), lease: message.int('lease') };
  if (put.key.length + put.value.length > MAX_REQUEST_BYTES) throw etcdError('tooLarge');
  return put;
}

export function readDelete(message: Message): DeleteRequest {
  message.refuse('prev_kv');
  return readKeyRange(message);
}

export function readWatch(message: Message): WatchRequest {
  message.refuse('prev_kv', 'filters');
  const [from, progress, id] = [
    message.number('start_revision'),
    message.flag('progress_notify'),
    message.int('watch_id'),
  ];
  return { ...readKeyRange(message), from, progress, id };
}

export function readTransaction(message: Message): TransactionRequest {
  const request = {
    compare: message.children('compare').map(readCompare),
    success: message.children('success').map(readOperation),
    failure: message.children('failure').map(readOperation),
  };
  for (const operations of [request.success, request.failure]) checkDuplicates(operations);
  if (Object.values(request).some(({ length }) => length > MAX_OPERATIONS))
    throw etcdError('tooManyOperations');
  const bytes = [...request.success, ...request.failure].map((op) =>
    op.type === 'put' ? op.put.value.length : 0,
  );
  if (bytes.reduce((sum, size) => sum + size, 0) > MAX_REQUEST_BYTES) throw etcdError('tooLarge');
  return request;
}

function readKey(message: Message): Buffer {
  const key = message.bytes('key');
  if (key.length === 0) throw etcdError('emptyKey');
  return key;
}

function readKeyRange(message: Message): KeyRange {
  const end = message.bytes('range_end');
  return { key: readKey(message), end: end.length ? end : undefined };
}

const TARGETS = {
  VERSION: ['version', 'version'],
  CREATE: ['created', 'create_revision'],
  MOD: ['modified', 'mod_revision'],
} as const;

function readCompare(message: Message): CompareRequest {
  message.refuse('range_end');
  const result = message.text('result') ?? 'EQUAL';
  if (result !== 'EQUAL') throw unsupported(`the comparison ${result}`);
  const key = readKey(message);
  const name = message.text('target') ?? 'VERSION';
  if (name === 'VALUE') return { key, target: 'value', equals: message.bytes('value') };
  if (name !== 'VERSION' && name !== 'CREATE' && name !== 'MOD')
    throw unsupported(`the comparison of ${name}`);
  const [target, field] = TARGETS[name];
  return { key, target, equals: message.number(field) };
}

function readOperation(message: Message): Operation {
  message.refuse('request_txn');
  const range = message.child('request_range');
  if (range) return { type: 'range', range: readRange(range) };
  const put = message.child('request_put');
  if (put) return { type: 'put', put: readPut(put) };
  const remove = message.child('request_delete_range');
  if (remove) return { type: 'delete', delete: readDelete(remove) };
  throw etcdError('emptyKey');
}

/** Within a transaction, a key may be put only once, and not both put and deleted. */
function checkDuplicates(operations: readonly Operation[]): void {
  const puts = new Set<string>();
  for (const operation of operations) {
    if (operation.type !== 'put') continue;
    const key = operation.put.key.toString('latin1');
    if (puts.has(key)) throw etcdError('duplicateKey');
    puts.add(key);
  }
  for (const operation of operations) {
    if (operation.type !== 'delete') continue;
    const { key, end } = operation.delete;
    const inside = (put: string): boolean => covers({ key, end }, Buffer.from(put, 'latin1'));
    if ([...puts].some(inside)) throw etcdError('duplicateKey');
  }
}

/** Whether the range includes the key. */
export function covers({ key, end }: KeyRange, candidate: Uint8Array): boolean {
  if (end === undefined) return key.equals(candidate);
  if (Buffer.compare(candidate, key) < 0) return false;
  return (end.length === 1 && end[0] === 0) || Buffer.compare(candidate, end) < 0;
}
