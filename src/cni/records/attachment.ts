import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { podTitle } from '../../cluster/node.ts';
import { codeOf, ioError, messageOf } from '../../error.ts';
import { type Attachment, type AttachmentKey, decodeAttachment } from './record.ts';
import { SpareFiles, writeOver } from './spare-files.ts';

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
  #isDirCreated = false;
  /** Record files by host device; filled when all records are first read. */
  #onDevice: Map<string, Set<string>> | undefined;

  constructor(stateDir: string) {
    this.dir = join(stateDir, 'attachments');
    this.#spares = new SpareFiles(this.dir);
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
    if (this.#onDevice) index(this.#onDevice, record);
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
    if (this.#onDevice) index(this.#onDevice, record);
  }

  remove(record: Attachment | DamagedAttachment): void {
    const file = fileOf(record);
    if (record.state === 'damaged') {
      rmSync(join(this.dir, file), { recursive: true, force: true });
      return;
    }
    this.#spares.remove(join(this.dir, file));
    if (record.hostDevice) this.#onDevice?.get(record.hostDevice)?.delete(file);
  }

  #createDir(): void {
    if (!this.#isDirCreated) mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    this.#isDirCreated = true;
  }

  /** Returns the intact records with this host device. */
  onDevice(device: string): Attachment[] {
    if (!this.#onDevice) this.list();
    const records = [...(this.#onDevice?.get(device) ?? [])].map((file) => this.#read(file));
    return records.filter((record) => record !== undefined && record.state !== 'damaged');
  }

  list(): (Attachment | DamagedAttachment)[] {
    const names = readNames(this.dir).filter((name) => name.endsWith('.json'));
    const records = names.flatMap((name) => this.#read(name) ?? []);
    const onDevice = new Map<string, Set<string>>();
    for (const record of records) if (record.state !== 'damaged') index(onDevice, record);
    this.#onDevice = onDevice;
    return records;
  }

  #read(name: string, key?: AttachmentKey): Attachment | DamagedAttachment | undefined {
    try {
      const record = decodeAttachment(readFileSync(join(this.dir, name), 'utf8'));
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

function keyIn(file: string): AttachmentKey {
  const [network = '', containerId = '', ifName = '', role] = file.slice(0, -'.json'.length).split(':');
  return { network, containerId, ifName, role: role === 'ipam' ? role : 'interface' };
}

function index(onDevice: Map<string, Set<string>>, record: Attachment): void {
  if (!record.hostDevice) return;
  const files = onDevice.get(record.hostDevice) ?? new Set();
  onDevice.set(record.hostDevice, files.add(fileName(record)));
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

export function readNames(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function fileOf(record: Attachment | DamagedAttachment): string {
  return record.state === 'damaged' ? record.file : fileName(record);
}

/** The specification forbids colons in network names, container IDs and interface names. */
export function fileName({ network, containerId, ifName, role }: AttachmentKey): string {
  const name = [network, containerId, ifName, role].join(':');
  return name.length <= 240 ? `${name}.json` : `${createHash('sha256').update(name).digest('hex')}.json`;
}
