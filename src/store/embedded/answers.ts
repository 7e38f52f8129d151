import type {
  Change,
  OperationResult,
  RangeRequest,
  RangeResult,
  Row,
  TransactionResult,
} from './requests.ts';

// Answers in protobuf's JSON mapping: int64 as strings; zero, empty and false fields omitted.
// JSON.stringify drops `undefined`, so fields that may be zero go through these.
const int = (value: number): string | undefined => (value === 0 ? undefined : String(value));
const bytes = (value: Uint8Array): string | undefined =>
  value.length === 0
    ? undefined
    : Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64');
const flag = (value: boolean): true | undefined => value || undefined;
const list = <T>(values: readonly T[]): readonly T[] | undefined =>
  values.length === 0 ? undefined : values;

export type Header = {
  readonly cluster_id: string;
  readonly member_id: string;
  readonly revision: string;
  readonly raft_term: string;
};

export function rangeAnswer(
  header: object,
  { rows, count, more }: RangeResult,
  { keysOnly }: RangeRequest,
): object {
  return {
    header,
    kvs: list(rows.map((row) => keyValue(row, keysOnly))),
    more: flag(more),
    count: int(count),
  };
}

export function deleteAnswer(header: object, deleted: number): object {
  return { header, deleted: int(deleted) };
}

export function transactionAnswer(
  header: Header,
  { succeeded, results }: TransactionResult,
  requests: readonly (RangeRequest | undefined)[],
): object {
  const inner = { revision: header.revision };
  const answer = (result: OperationResult, index: number): object => {
    if (result.type === 'put') return { response_put: { header: inner } };
    if (result.type === 'delete') return { response_delete_range: deleteAnswer(inner, result.deleted) };
    const request = requests[index];
    return request ? { response_range: rangeAnswer(inner, result.range, request) } : {};
  };
  return { header, succeeded: flag(succeeded), responses: list(results.map(answer)) };
}

export function event(change: Change): object {
  if (change.version > 0) return { kv: keyValue(change) };
  return { type: 'DELETE', kv: { key: bytes(change.key), mod_revision: int(change.modified) } };
}

function keyValue(row: Row, keysOnly = false): object {
  return {
    key: bytes(row.key),
    create_revision: int(row.created),
    mod_revision: int(row.modified),
    version: int(row.version),
    value: keysOnly ? undefined : bytes(row.value),
    lease: row.lease === '0' ? undefined : row.lease,
  };
}
