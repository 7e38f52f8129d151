import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PodIdentity } from '../../cluster/node.ts';
import type { WiringName } from '../../cluster/wiring.ts';
import { codeOf, ioError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Prefixed } from '../../ip/cidr.ts';
import { SpareFiles, writeOver } from './spare-files.ts';

/**
 * Identifies an attachment. For one interface, we may be called to create the interface and, as an IPAM
 * delegate, to assign addresses.
 */
export type AttachmentKey = {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly role: 'interface' | 'ipam';
};

/**
 * Our record of one attachment. It is on disk before anything it refers to is created and removed after all
 * of that is gone, so it leads to anything left by a crash. It survives reboots, as reservations do.
 */
export type Attachment = AttachmentKey & {
  /**
   * `adding` until complete, `removing` once DEL starts. Without a call in progress, either was left by a
   * crash.
   */
  readonly state: 'adding' | 'ready' | 'removing';
  /** Path of the pod's network namespace, its inode, and the boot during which the inode is valid. */
  readonly netns: string;
  readonly netnsId: number;
  readonly bootId: string;
  /** host-local's directory with the reservations. */
  readonly dir: string;
  readonly addresses: readonly Prefixed[];
  /** The host end of the veth. If another plugin created the interface, the name it reported, if any. */
  readonly hostDevice?: string;
  readonly bridge?: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly hairpin?: boolean;
  /** Absent for a bridge. */
  readonly wiring?: WiringName;
  /** Holds the addresses in the store if they come from blocks; `dir` is empty then. */
  readonly handle?: string;
  /** Addresses announced one by one: from other nodes' blocks, or alone in their block. */
  readonly borrowed?: readonly Ip[];
  /** Another plugin created the interface and removes it. */
  readonly chained?: boolean;
  /** The agent maintains the link's settings. */
  readonly managed?: boolean;
  /** Absent in records of earlier versions whose pod had no name. */
  readonly pod?: PodIdentity;
};

/** Earlier versions wrote `namespace/name`. */
type OldPod = { readonly pod?: PodIdentity | string };

/** An unreadable record. Its file name identifies the attachment, which is enough to clean everything up. */
export type DamagedAttachment = AttachmentKey & { readonly state: 'damaged'; readonly file: string };

/**
 * The records in one state directory. Every call goes to disk; nothing is synced, as no pod survives a power
 * cut.
 */
export class Attachments {
  readonly #dir: string;
  readonly #spares: SpareFiles;
  #isDirCreated = false;
  /** Record files by host device; filled when all records are first read. */
  #onDevice: Map<string, Set<string>> | undefined;

  constructor(stateDir: string) {
    this.#dir = join(stateDir, 'attachments');
    this.#spares = new SpareFiles(this.#dir);
  }

  read(key: AttachmentKey): Attachment | DamagedAttachment | undefined {
    return this.#read(fileName(key));
  }

  /** Returns the current content of a record read earlier. */
  readAgain(record: Attachment | DamagedAttachment): Attachment | DamagedAttachment | undefined {
    return this.#read(fileOf(record));
  }

  write(record: Attachment): void {
    if (!this.#isDirCreated) mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#isDirCreated = true;
    const path = join(this.#dir, fileName(record));
    const text = JSON.stringify(record);
    try {
      if (record.state === 'adding') this.#spares.create(path, text);
      // In place: a record truncated by a crash belongs to a call that was never answered, and is handled as
      // damaged.
      else writeOver(path, text);
    } catch (error) {
      // When the disk is full, Node's error lacks the path.
      throw ioError('write', path, error);
    }
    if (this.#onDevice) index(this.#onDevice, record);
  }

  remove(record: Attachment | DamagedAttachment): void {
    const file = fileOf(record);
    this.#spares.remove(join(this.#dir, file));
    if (record.state !== 'damaged' && record.hostDevice) this.#onDevice?.get(record.hostDevice)?.delete(file);
  }

  /** Returns the intact records with this host device. */
  onDevice(device: string): Attachment[] {
    if (!this.#onDevice) this.list();
    const records = [...(this.#onDevice?.get(device) ?? [])].map((file) => this.#read(file));
    return records.filter((record) => record !== undefined && record.state !== 'damaged');
  }

  list(): (Attachment | DamagedAttachment)[] {
    const names = readNames(this.#dir).filter((name) => name.endsWith('.json'));
    const records = names.flatMap((name) => this.#read(name) ?? []);
    const onDevice = new Map<string, Set<string>>();
    for (const record of records) if (record.state !== 'damaged') index(onDevice, record);
    this.#onDevice = onDevice;
    return records;
  }

  #read(name: string): Attachment | DamagedAttachment | undefined {
    let text: string;
    try {
      text = readFileSync(join(this.#dir, name), 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    try {
      // Only we write these files, so a record that parses is intact.
      return upgraded(JSON.parse(text) as Attachment & OldPod);
    } catch {
      const [network = '', containerId = '', ifName = '', role] = name.slice(0, -'.json'.length).split(':');
      const key = { network, containerId, ifName, role: role === 'ipam' ? role : 'interface' } as const;
      return { ...key, state: 'damaged', file: name };
    }
  }
}

function index(onDevice: Map<string, Set<string>>, record: Attachment): void {
  if (!record.hostDevice) return;
  const files = onDevice.get(record.hostDevice) ?? new Set();
  onDevice.set(record.hostDevice, files.add(fileName(record)));
}

function upgraded(record: Omit<Attachment, 'pod'> & OldPod): Attachment {
  const { pod, ...rest } = record;
  if (typeof pod !== 'string') return { ...rest, ...(pod && { pod }) };
  const [namespace = '', name = ''] = pod.split('/');
  return { ...rest, pod: { namespace, name, labels: {} } };
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
function fileName({ network, containerId, ifName, role }: AttachmentKey): string {
  const name = [network, containerId, ifName, role].join(':');
  return name.length <= 240 ? `${name}.json` : `${createHash('sha256').update(name).digest('hex')}.json`;
}
