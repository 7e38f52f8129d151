import { randomInt } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { FlatnetError, messageOf } from '../../error.ts';

const SCHEMA = 1;

const TABLES = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE kv (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,
    version INTEGER NOT NULL, lease TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX kv_by_lease ON kv (lease) WHERE lease <> '0';
  -- Every change since the last compaction, for watches. A deletion has version 0.
  CREATE TABLE history (
    revision INTEGER NOT NULL, position INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    created INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT NOT NULL,
    PRIMARY KEY (revision, position)
  ) WITHOUT ROWID;
  CREATE TABLE lease (id TEXT PRIMARY KEY, ttl INTEGER NOT NULL) WITHOUT ROWID;
`;

/**
 * Opens the store's file for exclusive use, creating it if missing. `:memory:` persists nothing. Throws IO.
 */
export function openDatabase(file: string): DatabaseSync {
  try {
    const db = new DatabaseSync(file);
    try {
      prepare(db);
    } catch (error) {
      db.close();
      throw error;
    }
    return db;
  } catch (error) {
    if (error instanceof FlatnetError) throw error;
    const locked = messageOf(error).includes('locked');
    throw new FlatnetError(locked ? 'another server has this file open' : messageOf(error), {
      code: 'IO',
      operation: 'store open',
      object: file,
      cause: error,
    });
  }
}

function prepare(db: DatabaseSync): void {
  // Exclusive: a second server on the same file fails here. SQLite's lock ends with the process, even after
  // SIGKILL.
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL');
  // NORMAL would survive SIGKILL, but may lose the last transactions in a power cut (sqlite.org/pragma.html),
  // and a lost lease means a subnet assigned to two nodes. FULL syncs the WAL at each commit, as etcd does
  // with its own.
  db.exec('PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304');
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
  if (version === SCHEMA) {
    db.exec('BEGIN EXCLUSIVE; COMMIT');
    return;
  }
  if (version !== 0) {
    throw new FlatnetError(
      `was written by another release (format ${version}; this release supports ${SCHEMA})`,
      {
        code: 'IO',
        operation: 'store open',
        object: db.location() ?? ':memory:',
      },
    );
  }
  db.exec(`BEGIN EXCLUSIVE; ${TABLES}`);
  const meta = db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)');
  meta.run('cluster', String(randomInt(1, 2 ** 47)));
  meta.run('compacted', 0);
  db.exec(`PRAGMA user_version = ${SCHEMA}; COMMIT`);
}
