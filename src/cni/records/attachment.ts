import { lstatSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { podTitle } from '../../cluster/node.ts';
import { codeOf, ioError, messageOf } from '../../error.ts';
import { namesIn } from '../../if-there.ts';
import type { Mac } from '../../ip/mac.ts';
import { fileName, isThere, keyIn } from './files.ts';
import { type Attachment, type AttachmentKey, decodeAttachment } from './record.ts';
import { RecordIndex } from './record-index.ts';
import { RequestCopies } from './requests.ts';
import { SpareFiles, writeOver } from './spare-files.ts';

export { fileName } from './files.ts';
export type { Attachment, AttachmentKey } from './record.ts';

/**
 * A record that cannot be read. Its file name usually identifies the attachment; one shortened to a hash does
 * not, and the container's ID is empty then.
 */
export type DamagedAttachment = AttachmentKey & {
  readonly state: 'damaged';
  readonly file: string;
  /** What is wrong with it. */
  readonly reason: string;
};

/**
 * The records in one state directory. Every call goes to disk; nothing is synced, as no pod survives a power
 * cut.
 */
export class Attachments {
  /** The directory with their files. */
  readonly dir: string;
  readonly #spares: SpareFiles;
  readonly #requests: RequestCopies;
  #isDirCreated = false;
  /** Filled when all records are first read. */
  #onDevice: RecordIndex | undefined;
  readonly #withMac = new RecordIndex();
  readonly #withHostPort = new RecordIndex();
  /** MACs of attachments whose records do not have them yet, by file. */
  readonly #held = new Map<string, Mac>();

  constructor(stateDir: string) {
    this.dir = join(stateDir, 'attachments');
    this.#spares = new SpareFiles(this.dir);
    this.#requests = new RequestCopies(stateDir);
  }

  read(key: AttachmentKey): Attachment | DamagedAttachment | undefined {
    return this.#read(fileName(key), key);
  }

  /** Returns the current content of a record read earlier. */
  readAgain(record: Attachment | DamagedAttachment): Attachment | DamagedAttachment | undefined {
    return this.#read(fileOf(record));
  }

  write(record: Attachment): void {
    this.#createDir();
    const path = join(this.dir, fileName(record));
    const text = JSON.stringify(record);
    try {
      if (record.state === 'adding') this.#spares.create(path, text);
      // In place. One that a crash truncated is rebuilt from what the kernel holds.
      else writeOver(path, text);
    } catch (error) {
      // When the disk is full, Node's error lacks the path.
      throw ioError('write', path, error);
    }
    if (record.state === 'adding') this.keepRequests(record);
    this.#index(record);
  }

  /** Replaces a record that cannot be read, whatever is in its place; it stays if the disk is full. */
  replace(damaged: Pick<DamagedAttachment, 'file'>, record: Attachment): void {
    this.#createDir();
    const [old, path] = [join(this.dir, damaged.file), join(this.dir, fileName(record))];
    // No file can be renamed over a folder.
    if (lstatSync(old, { throwIfNoEntry: false })?.isDirectory()) rmSync(old, { recursive: true });
    try {
      this.#spares.create(path, JSON.stringify(record));
    } catch (error) {
      throw ioError('write', path, error);
    }
    if (old !== path) rmSync(old, { force: true });
    this.#index(record);
  }

  remove(record: Attachment | DamagedAttachment): void {
    const file = fileOf(record);
    this.#requests.remove(file);
    if (record.state === 'damaged') {
      rmSync(join(this.dir, file), { recursive: true, force: true });
      return;
    }
    this.#spares.remove(join(this.dir, file));
    this.#onDevice?.remove(record.hostDevice, record);
    this.#withHostPort.remove(hostPortOf(record), record);
    for (const mac of [record.mac, this.#held.get(file)]) this.#withMac.remove(mac, record);
    this.#held.delete(file);
  }

  /** Keeps a second copy of what the attachment asks for; `mac` of the record only if it was asked for. */
  keepRequests(record: Attachment): void {
    this.#createDir();
    try {
      this.#requests.keep(record);
    } catch (error) {
      throw ioError('write', fileName(record), error);
    }
  }

  /** Whether what the attachment asks for is known to be kept. */
  keepsRequests(record: Attachment): boolean {
    return this.#requests.has(fileName(record));
  }

  /** What an attachment with a lost record had asked for; `lost` if that is unknown. */
  requestsOf(key: AttachmentKey): Attachment | 'nothing' | 'lost' {
    return this.#requests.of(fileName(key));
  }

  /** Removes the copies of attachments that no longer have a record. */
  sweepRequests(): void {
    this.#requests.sweep(new Set(namesIn(this.dir)));
  }

  #createDir(): void {
    if (this.#isDirCreated) return;
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    this.#requests.create();
    this.#isDirCreated = true;
  }

  #index(record: Attachment): void {
    this.#onDevice?.add(record.hostDevice, record);
    this.#withMac.add(record.mac, record);
    this.#withHostPort.add(hostPortOf(record), record);
  }

  /** Returns the intact records with this host device. */
  onDevice(device: string): Attachment[] {
    if (!this.#onDevice) this.list();
    return this.#intact(this.#onDevice?.of(device) ?? []);
  }

  /** Returns the records with host ports; in place of a damaged one, what its attachment had asked for. */
  withHostPorts(): Attachment[] {
    if (!this.#onDevice) this.list();
    return this.#withHostPort.of(ANY_PORT).flatMap((file) => {
      const record = this.#read(file);
      return (record?.state === 'damaged' ? this.#asked(file) : record) ?? [];
    });
  }

  #asked(file: string): Attachment | undefined {
    const asked = this.#requests.of(file);
    return typeof asked === 'object' ? { ...asked, state: 'ready' } : undefined;
  }

  /**
   * Returns the records of other attachments that have this MAC, or are about to (`holdMac` says so), or had
   * it before they were damaged.
   */
  withMac(mac: Mac, key: AttachmentKey): (Attachment | DamagedAttachment)[] {
    if (!this.#onDevice) this.list();
    const files = this.#withMac.of(mac).filter((file) => file !== fileName(key));
    return files
      .flatMap((file) => this.#read(file) ?? [])
      .filter((record) => record.state !== 'removing' && (record.state !== 'ready' || record.mac === mac));
  }

  /** Notes that the attachment, whose record is on disk, gets this MAC. */
  holdMac(mac: Mac, key: AttachmentKey): void {
    this.#held.set(fileName(key), mac);
    this.#withMac.add(mac, key);
  }

  #intact(files: readonly string[]): Attachment[] {
    const records = files.map((file) => this.#read(file));
    return records.filter((record) => record !== undefined && record.state !== 'damaged');
  }

  list(): (Attachment | DamagedAttachment)[] {
    const names = namesIn(this.dir).filter((name) => name.endsWith('.json'));
    const records = names.flatMap((name) => this.#read(name) ?? []);
    this.#onDevice = new RecordIndex();
    for (const record of records) {
      if (record.state !== 'damaged') this.#index(record);
      const asked = record.state === 'damaged' ? this.#asked(record.file) : undefined;
      if (asked) this.#withHostPort.add(hostPortOf(asked), asked);
    }
    return records;
  }

  #read(name: string, key?: AttachmentKey): Attachment | DamagedAttachment | undefined {
    try {
      const path = join(this.dir, name);
      if (!isThere(path)) return undefined;
      const record = decodeAttachment(readFileSync(path, 'utf8'));
      if (fileName(record) === name) return record;
      return damaged(name, `it is the record of ${podTitle({ ...record, ...record.pod })}`, key);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      return damaged(name, messageOf(error), key);
    }
  }
}

function damaged(file: string, reason: string, key = keyIn(file)): DamagedAttachment {
  return { ...key, state: 'damaged', file, reason };
}

export function keyOf(
  { network, containerId, ifName }: Omit<AttachmentKey, 'role'>,
  role: AttachmentKey['role'],
): AttachmentKey {
  return { network, containerId, ifName, role };
}

/** Returns the handle of an attachment in the store, in the format of Calico's IPAM. */
export function handleOf({ containerId, ifName }: Pick<AttachmentKey, 'containerId' | 'ifName'>): string {
  return `k8s-pod-network.${containerId}.${ifName}`;
}

function fileOf(record: Attachment | DamagedAttachment): string {
  return record.state === 'damaged' ? record.file : fileName(record);
}

/** Few pods have host ports, so one entry of the index holds them all. */
const ANY_PORT = 'any';

function hostPortOf({ hostPorts = [] }: Attachment): string | undefined {
  return hostPorts.length > 0 ? ANY_PORT : undefined;
}
