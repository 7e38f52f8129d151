import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import type { Change } from './requests.ts';

/** Automatic compaction keeps at least this many revisions… */
const KEEP_REVISIONS = 10_000;
/** …unless they hold more bytes than this. */
const KEEP_BYTES = 64 * 1024 * 1024;

const EMPTY = Buffer.alloc(0);

/** The changes of each revision since the last compaction. */
export class History {
  readonly #db: DatabaseSync;
  readonly #sql: Record<'insert' | 'since' | 'compacted' | 'trim', StatementSync>;
  #newest: number;
  #compacted: number;
  #bytes: number;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#sql = {
      insert: db.prepare(
        'INSERT INTO history (revision, position, key, value, created, version, lease) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
      since: db.prepare(`SELECT key, value, created, revision AS modified, version, lease FROM history
        WHERE revision >= ? ORDER BY revision, position`),
      compacted: db.prepare("UPDATE meta SET value = ? WHERE name = 'compacted'"),
      trim: db.prepare('DELETE FROM history WHERE revision < ?'),
    };
    this.#newest = this.#number('SELECT coalesce(max(revision), 1) AS n FROM history');
    this.#compacted = this.#number("SELECT value AS n FROM meta WHERE name = 'compacted'");
    this.#bytes = this.#size();
  }

  /** The newest revision; compaction never removes it. */
  get newest(): number {
    return this.#newest;
  }

  /** The oldest revision a watch may start at; 0 before the first compaction. */
  get compacted(): number {
    return this.#compacted;
  }

  /** Returns changes since revision `from`, in order: whole revisions, at least one, up to about `bytes`. */
  since(from: number, bytes: number): Change[] {
    const changes: Change[] = [];
    let size = 0;
    for (const row of this.#sql.since.iterate(from)) {
      const change = changeOf(row);
      if (size >= bytes && change.modified !== changes.at(-1)?.modified) break;
      changes.push(change);
      size += change.key.length + change.value.length;
    }
    return changes;
  }

  /** Stores changes; call within the transaction that makes them. */
  append(changes: readonly Change[]): void {
    for (const [position, { key, value, created, modified, version, lease }] of changes.entries()) {
      this.#sql.insert.run(modified, position, key, value, created, version, lease);
    }
  }

  /** Accounts for stored changes; call once that transaction is on disk. */
  appended(changes: readonly Change[]): void {
    this.#newest++;
    for (const { key, value } of changes) this.#bytes += key.length + value.length;
  }

  /** Bounds the file's size. Trims to half only at twice the limit, so that the cost per write stays low. */
  trim(): void {
    if (this.#newest - this.#compacted > 2 * KEEP_REVISIONS) this.compact(this.#newest - KEEP_REVISIONS);
    else if (this.#bytes > KEEP_BYTES) this.compact(this.#halfway());
  }

  compact(revision: number): void {
    this.#db.exec('BEGIN IMMEDIATE');
    this.#sql.compacted.run(revision);
    this.#sql.trim.run(revision);
    this.#db.exec('COMMIT');
    this.#compacted = revision;
    this.#bytes = this.#size();
  }

  /** The oldest revision from which the history fills at most half of the limit. */
  #halfway(): number {
    return this.#number(
      `SELECT coalesce(min(revision), ${this.#newest}) AS n FROM (
        SELECT revision, sum(length(key) + length(value)) OVER (ORDER BY revision DESC) AS bytes FROM history)
       WHERE bytes <= ${KEEP_BYTES / 2}`,
    );
  }

  #size(): number {
    return this.#number('SELECT coalesce(sum(length(key) + length(value)), 0) AS n FROM history');
  }

  #number(sql: string): number {
    return Number(this.#db.prepare(sql).get()?.n);
  }
}

function changeOf(row: Record<string, SQLOutputValue>): Change {
  return {
    key: row.key instanceof Uint8Array ? row.key : EMPTY,
    value: row.value instanceof Uint8Array ? row.value : EMPTY,
    created: Number(row.created),
    modified: Number(row.modified),
    version: Number(row.version),
    lease: String(row.lease),
  };
}
