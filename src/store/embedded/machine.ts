import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { etcdError } from './errors.ts';
import { History } from './history.ts';
import type {
  Change,
  CompareRequest,
  DeleteRequest,
  KeyRange,
  Operation,
  OperationResult,
  PutRequest,
  RangeRequest,
  RangeResult,
  Row,
  TransactionRequest,
  TransactionResult,
} from './requests.ts';

/** etcd's `range_end` for the end of the key space. */
const OPEN_END = Buffer.from([0]);

/**
 * etcd's key space on SQLite: one revision for each transaction that changes something, versions per key,
 * keys attached to leases. Every method is one durable transaction; `onCommit` is called for each new
 * revision once it is on disk.
 */
export class Machine {
  readonly history: History;
  readonly #db: DatabaseSync;
  readonly #onCommit: (revision: number, changes: readonly Change[]) => void;
  readonly #sql: Record<'one' | 'from' | 'between' | 'put' | 'delete' | 'leased' | 'lease', StatementSync>;
  #revision: number;
  /** Changes of the current transaction. */
  #pending: Change[] = [];

  constructor(db: DatabaseSync, onCommit: (revision: number, changes: readonly Change[]) => void) {
    this.#db = db;
    this.#onCommit = onCommit;
    this.history = new History(db);
    this.#revision = this.history.newest;
    const columns = 'key, value, created, modified, version, lease';
    this.#sql = {
      one: db.prepare(`SELECT ${columns} FROM kv WHERE key = ?`),
      from: db.prepare(`SELECT ${columns} FROM kv WHERE key >= ? AND modified >= ? ORDER BY key`),
      between: db.prepare(
        `SELECT ${columns} FROM kv WHERE key >= ? AND key < ? AND modified >= ? ORDER BY key`,
      ),
      put: db.prepare(`REPLACE INTO kv (${columns}) VALUES (?, ?, ?, ?, ?, ?)`),
      delete: db.prepare('DELETE FROM kv WHERE key = ?'),
      leased: db.prepare(`SELECT ${columns} FROM kv WHERE lease = ? ORDER BY key`),
      lease: db.prepare('SELECT 1 FROM lease WHERE id = ?'),
    };
  }

  /** Revision of the newest change; 1 for an empty store, as in etcd. */
  get revision(): number {
    return this.#revision;
  }

  range(request: RangeRequest): RangeResult {
    if (request.revision > this.#revision) throw etcdError('futureRevision');
    if (request.revision > 0 && request.revision < this.history.compacted) throw etcdError('compacted');
    if (request.revision > 0 && request.revision < this.#revision) throw etcdError('noPastReads');
    const rows = this.#rows(request, request.minModRevision);
    const limit = request.limit > 0 ? request.limit : rows.length;
    return {
      rows: request.countOnly ? [] : rows.slice(0, limit),
      count: rows.length,
      more: rows.length > limit,
    };
  }

  put(request: PutRequest): void {
    this.#transaction(() => this.#put(request));
  }

  /** Returns how many keys were deleted. */
  delete(request: DeleteRequest): number {
    return this.#transaction(() => this.#delete(request));
  }

  txn({ compare, success, failure }: TransactionRequest): TransactionResult {
    return this.#transaction(() => {
      const succeeded = compare.every((condition) => this.#holds(condition));
      const results = (succeeded ? success : failure).map((operation) => this.#run(operation));
      return { succeeded, results };
    });
  }

  /** Discards history before `revision`: watches can no longer start there. */
  compact(revision: number): void {
    if (revision > this.#revision) throw etcdError('futureRevision');
    if (revision <= this.history.compacted) throw etcdError('compacted');
    this.history.compact(revision);
  }

  /** Deletes the lease and its keys, all in one revision. */
  revoke(lease: string): void {
    this.#transaction(() => {
      for (const row of this.leased(lease)) this.#deleteKey(row.key);
      this.#db.prepare('DELETE FROM lease WHERE id = ?').run(lease);
    });
  }

  grant(lease: string, ttl: number): void {
    if (this.#sql.lease.get(lease)) throw etcdError('leaseExists');
    this.#db.prepare('INSERT INTO lease (id, ttl) VALUES (?, ?)').run(lease, ttl);
  }

  /** Every active lease with its TTL in seconds. */
  leases(): Map<string, number> {
    const rows = this.#db.prepare('SELECT id, ttl FROM lease').all();
    return new Map(rows.map((row) => [String(row.id), Number(row.ttl)]));
  }

  /** The keys attached to the lease. */
  leased(lease: string): Row[] {
    return this.#sql.leased.all(lease).map(rowOf);
  }

  #transaction<T>(work: () => T): T {
    this.#pending = [];
    this.#db.exec('BEGIN IMMEDIATE');
    let result: T;
    try {
      result = work();
      this.history.append(this.#pending);
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
    if (this.#pending.length > 0) {
      this.#revision++;
      this.history.appended(this.#pending);
      this.#onCommit(this.#revision, this.#pending);
    }
    return result;
  }

  #run(operation: Operation): OperationResult {
    if (operation.type === 'range') return { type: 'range', range: this.range(operation.range) };
    if (operation.type === 'delete') return { type: 'delete', deleted: this.#delete(operation.delete) };
    this.#put(operation.put);
    return { type: 'put' };
  }

  #put({ key, value, lease }: PutRequest): void {
    if (lease !== '0' && !this.#sql.lease.get(lease)) throw etcdError('leaseNotFound');
    const old = this.#sql.one.get(key);
    const modified = this.#revision + 1;
    const created = old ? Number(old.created) : modified;
    const version = old ? Number(old.version) + 1 : 1;
    this.#sql.put.run(key, value, created, modified, version, lease);
    this.#pending.push({ key, value, created, modified, version, lease });
  }

  #delete(range: DeleteRequest): number {
    const rows = this.#rows(range, 0);
    for (const { key } of rows) this.#deleteKey(key);
    return rows.length;
  }

  #deleteKey(key: Uint8Array): void {
    this.#sql.delete.run(key);
    const gone = { value: Buffer.alloc(0), created: 0, version: 0, lease: '0' };
    this.#pending.push({ key, modified: this.#revision + 1, ...gone });
  }

  #holds({ key, target, equals }: CompareRequest): boolean {
    const row = this.#sql.one.get(key);
    // As in etcd, a missing key has revisions and version 0, and no comparison of its value succeeds.
    if (target === 'value') return row !== undefined && Buffer.compare(bytesOf(row.value), equals) === 0;
    return Number(row?.[target] ?? 0) === equals;
  }

  #rows({ key, end }: KeyRange, minModified: number): Row[] {
    const { one, from, between } = this.#sql;
    if (end === undefined) {
      const row = one.get(key);
      return row && Number(row.modified) >= minModified ? [rowOf(row)] : [];
    }
    const rows = end.equals(OPEN_END) ? from.all(key, minModified) : between.all(key, end, minModified);
    return rows.map(rowOf);
  }
}

function rowOf(row: Record<string, SQLOutputValue>): Row {
  return {
    key: bytesOf(row.key),
    value: bytesOf(row.value),
    created: Number(row.created),
    modified: Number(row.modified),
    version: Number(row.version),
    lease: String(row.lease),
  };
}

function bytesOf(value: SQLOutputValue | undefined): Uint8Array {
  return value instanceof Uint8Array ? value : Buffer.alloc(0);
}
