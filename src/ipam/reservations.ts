import * as nodeFs from 'node:fs';
import { join } from 'node:path';
import { codeOf, FlatnetError, ioError } from '../error.ts';
import { type Ip, isIp, parseIp } from '../ip/address.ts';

/** The owner of an address: one interface of one container. */
export type Owner = {
  /** A valid CNI container ID: letters, digits, `_`, `.`, `-`, starting with a letter or digit. */
  readonly containerId: string;
  /** Empty in files of old host-local releases, which cover every interface of the container. */
  readonly ifName: string;
};

/** The node:fs functions used here; tests inject their own to stop between any two calls. */
export type Files = {
  closeSync(fd: number): void;
  fstatSync(fd: number): { readonly nlink: number };
  ftruncateSync(fd: number, length: number): void;
  linkSync(existing: string, path: string): void;
  mkdirSync(path: string, options: { recursive: true; mode: number }): unknown;
  openSync(path: string, flags: number, mode: number): number;
  readdirSync(path: string): string[];
  readFileSync(path: string, encoding: 'utf8'): string;
  renameSync(from: string, to: string): void;
  statSync(path: string, options: typeof STAT): { readonly mtimeNs: bigint } | undefined;
  unlinkSync(path: string): void;
  writeSync(fd: number, text: string, position: number): number;
};

/** Parsed reservation file: an owner, no text (`empty`), or text that no CNI plugin wrote (`foreign`). */
export type Content = Owner | 'empty' | 'foreign';

const { O_CREAT, O_NOFOLLOW, O_WRONLY } = nodeFs.constants;
const STAT = { bigint: true, throwIfNoEntry: false } as const;
/** Temporary names: of a file about to be linked, and of one kept for the next reservation. */
const STAGED = '.reserve-';
const SPARE = '.spare-';
/** About as many pods as a busy node deletes per minute. */
const MAX_SPARES = 64;
/** Container IDs permitted by the CNI specification. */
const CONTAINER_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** Far longer than any writer takes between creating a file and filling it. */
const ABANDONED_NS = 60_000_000_000n;

/**
 * host-local's data directory: one file per reserved address, named after the address and containing
 * `containerId CR LF ifName`, and `last_reserved_ip.N` with the address last allocated from range set N.
 * Every call goes to disk.
 */
export class Reservations {
  readonly dir: string;
  readonly #files: Files;
  /**
   * Files of released addresses, under temporary names, for the next reservations. When creating a file, ext4
   * searches for a free inode past all those freed in the last seconds (recently_deleted), which took a tenth
   * of the processor time of fifty ADDs at once.
   */
  readonly #spares: string[] = [];

  constructor(dir: string, files: Files = nodeFs) {
    this.dir = dir;
    this.#files = files;
  }

  /** The directory's mtime in nanoseconds. Creates the directory, mode 0755, if missing. */
  changedAt(): bigint {
    const { dir } = this;
    const stat = (): bigint | undefined =>
      this.#do('read', dir, () => this.#files.statSync(dir, STAT)?.mtimeNs);
    const found = stat();
    if (found !== undefined) return found;
    this.#do('create', dir, () => this.#files.mkdirSync(dir, { recursive: true, mode: 0o755 }));
    return stat() ?? -1n;
  }

  /** Returns the addresses that have a file, ignoring other files. Names in `known` are not parsed again. */
  names(known: { has(ip: Ip): boolean }): Ip[] {
    return this.#entries().filter(
      (name): name is Ip => known.has(name as Ip) || (isIp(name) && parseIp(name) === name),
    );
  }

  /** Reads the address's file; undefined when there is none. One that cannot be read is kept as `foreign`. */
  read(ip: Ip): Content | undefined {
    try {
      return contentOf(this.#files.readFileSync(join(this.dir, ip), 'utf8'));
    } catch (error) {
      return codeOf(error) === 'ENOENT' ? undefined : 'foreign';
    }
  }

  /**
   * Runs `use` with a function that reserves an address for the owner, or returns false if the address
   * already has a file. The text is written once under a temporary name and then linked: link(2) fails with
   * EEXIST just as O_CREAT|O_EXCL does, so it excludes both host-local and other flatnet processes, and a
   * killed process never leaves a file without its owner's name.
   */
  reserving<T>(owner: Owner, use: (reserve: (ip: Ip) => boolean) => T): T {
    const text = `${owner.containerId}\r\n${owner.ifName}`;
    const staged = this.#spares.pop() ?? this.#nameWith(STAGED);
    this.#do('write', staged, () => this.#stage(staged, text));
    try {
      return use((ip) => this.#link(staged, join(this.dir, ip), text));
    } finally {
      this.#remove(staged);
    }
  }

  /** Writes the file: a new one, or a spare one, which is empty. */
  #stage(path: string, text: string): void {
    const files = this.#files;
    const fd = files.openSync(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      // Others may have removed it meanwhile, or linked it elsewhere for a backup.
      if (files.fstatSync(fd).nlink === 1) {
        if (files.writeSync(fd, text, 0) === text.length) return;
        throw new FlatnetError('wrote only a part', { code: 'IO' });
      }
    } finally {
      files.closeSync(fd);
    }
    this.#remove(path);
    this.#stage(path, text);
  }

  #link(staged: string, path: string, text: string, isLast = false): boolean {
    try {
      this.#files.linkSync(staged, path);
      return true;
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      if (isLast || codeOf(error) !== 'ENOENT') throw ioError('reserve', path, error);
    }
    // A spare file may be so old that another process has swept it away.
    this.#do('write', staged, () => this.#stage(staged, text));
    return this.#link(staged, path, text, true);
  }

  /** Releases the address; false when it was already free. */
  remove(ip: Ip): boolean {
    return this.#remove(join(this.dir, ip));
  }

  /** Releases an address whose file names an owner, and keeps the file for the next reservation. */
  recycle(ip: Ip): void {
    if (this.#spares.length >= MAX_SPARES) {
      this.remove(ip);
      return;
    }
    const path = join(this.dir, ip);
    const spare = this.#nameWith(SPARE);
    try {
      this.#files.renameSync(path, spare);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      throw ioError('remove', path, error);
    }
    if (this.#empty(spare)) this.#spares.push(spare);
    else this.#remove(spare);
  }

  /**
   * Empties the file, since host-local looks into every one, whatever its name; and a power cut later leaves
   * it empty or with its next text, but never with this one. Returns false if it can't, or must not, as the
   * file is another address's as well.
   */
  #empty(path: string): boolean {
    const files = this.#files;
    try {
      const fd = files.openSync(path, O_WRONLY | O_NOFOLLOW, 0);
      try {
        const isOnlyOne = files.fstatSync(fd).nlink === 1;
        // Not when it is written next: ext4 would flush it (auto_da_alloc).
        if (isOnlyOne) files.ftruncateSync(fd, 0);
        return isOnlyOne;
      } finally {
        files.closeSync(fd);
      }
    } catch {
      return false;
    }
  }

  #nameWith(prefix: string): string {
    return join(this.dir, `${prefix}${crypto.randomUUID()}`);
  }

  /** The address last allocated from range set `index`; undefined when unknown or truncated by a crash. */
  lastReserved(index: number): Ip | undefined {
    const path = join(this.dir, `last_reserved_ip.${index}`);
    try {
      const text = this.#files.readFileSync(path, 'utf8').trim();
      return isIp(text) ? parseIp(text) : undefined;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw ioError('read', path, error);
    }
  }

  /**
   * Overwrites in place: truncating a file first, or renaming over it, makes ext4 flush it (`auto_da_alloc`),
   * which is ten times slower. A crash halfway only resets the round robin.
   */
  setLastReserved(index: number, ip: Ip): void {
    const files = this.#files;
    const path = join(this.dir, `last_reserved_ip.${index}`);
    this.#do('write', path, () => {
      const fd = files.openSync(path, O_WRONLY | O_CREAT, 0o600);
      try {
        files.ftruncateSync(fd, files.writeSync(fd, ip, 0));
      } finally {
        files.closeSync(fd);
      }
    });
  }

  /** Whether the address's file is so old that its creator cannot still be about to write to it. */
  abandoned(ip: Ip): boolean {
    return this.#old(ip);
  }

  /** Removes spare files, where possible. */
  discardSpares(): void {
    for (const spare of this.#spares.splice(0)) {
      try {
        this.#files.unlinkSync(spare);
      } catch {
        // A later sweep finds it.
      }
    }
  }

  /** Removes spare files, and temporary ones that others left more than a minute ago. */
  sweep(): void {
    this.discardSpares();
    for (const name of this.#entries()) {
      const isTemporary = name.startsWith(STAGED) || name.startsWith(SPARE);
      if (isTemporary && this.#old(name)) this.#remove(join(this.dir, name));
    }
  }

  #entries(): string[] {
    return this.#do('read', this.dir, () => this.#files.readdirSync(this.dir));
  }

  #old(name: string): boolean {
    const path = join(this.dir, name);
    const stat = this.#do('read', path, () => this.#files.statSync(path, STAT));
    if (stat === undefined) return false;
    const age = BigInt(Date.now()) * 1_000_000n - stat.mtimeNs;
    // In the future: the clock has been set back since.
    return age > ABANDONED_NS || age < -ABANDONED_NS;
  }

  #remove(path: string): boolean {
    try {
      this.#files.unlinkSync(path);
      return true;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw ioError('remove', path, error);
    }
  }

  #do<T>(operation: string, path: string, call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw ioError(operation, path, error);
    }
  }
}

function contentOf(text: string): Content {
  // After a power cut, ext4 may leave a file's length without its contents.
  const trimmed = text.replaceAll('\0', '').trim();
  if (trimmed === '') return 'empty';
  const [containerId = '', ifName = '', ...more] = trimmed.split(/\r?\n/);
  return CONTAINER_ID.test(containerId) && more.length === 0 ? { containerId, ifName } : 'foreign';
}
