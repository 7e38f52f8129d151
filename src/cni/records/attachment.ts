import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PodIdentity } from '../../cluster/node.ts';
import { codeOf, ioError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Prefixed } from '../../ip/cidr.ts';

const { O_CREAT, O_RDWR } = constants;

/**
 * What tells attachments apart. One call may wire an interface and, as another plugin's delegate, give it
 * addresses.
 */
export type AttachmentKey = {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly role: 'interface' | 'ipam';
};

/**
 * Our note of one attachment, on disk before the first thing it leads to exists and gone after the last:
 * whatever a crash leaves behind is found through it. It outlives reboots, as the reservations do.
 */
export type Attachment = AttachmentKey & {
  /**
   * `adding` until everything is there, `removing` from DEL's beginning: without a call under way, what a
   * crash left.
   */
  readonly state: 'adding' | 'ready' | 'removing';
  /**
   * Path of the pod's network namespace, its inode, and the boot in which that inode meant this namespace.
   */
  readonly netns: string;
  readonly netnsId: number;
  readonly bootId: string;
  /** host-local's folder with the reservations. */
  readonly dir: string;
  readonly addresses: readonly Prefixed[];
  /**
   * The host's end of the veth. Where another plugin wired the interface, its name for what it is worth, or
   * absent.
   */
  readonly hostDevice?: string;
  readonly bridge?: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly hairpin?: boolean;
  /** Absent: on a bridge. */
  readonly wiring?: 'routed';
  /** What the addresses are held by, where they are of blocks; then `dir` is empty. */
  readonly handle?: string;
  /** Those of the addresses that are of other nodes' blocks. */
  readonly borrowed?: readonly Ip[];
  /** Another plugin made the interface, and removes it. */
  readonly chained?: boolean;
  /** The link is as the agent wants it, on the agent's bridge, and it keeps it so. */
  readonly managed?: boolean;
  /** Absent in records of a pod nobody named. */
  readonly pod?: PodIdentity;
};

/** Agents from before pods had labels wrote `namespace/name`. */
type OldPod = { readonly pod?: PodIdentity | string };

/** A record that can't be read says who it is about by its name, which is enough to take everything back. */
export type DamagedAttachment = AttachmentKey & { readonly state: 'damaged'; readonly file: string };

/**
 * The records below one state folder. Every call goes to the disk; nothing is synced, for after a power cut
 * no pod lives.
 */
export class Attachments {
  readonly #dir: string;
  #made = false;
  /** The files of the records with a host device, by its name; known once all records were read. */
  #onDevice: Map<string, Set<string>> | undefined;

  constructor(stateDir: string) {
    this.#dir = join(stateDir, 'attachments');
  }

  read(key: AttachmentKey): Attachment | DamagedAttachment | undefined {
    return this.#read(fileName(key));
  }

  /** What is there now of a record that was read before. */
  readAgain(record: Attachment | DamagedAttachment): Attachment | DamagedAttachment | undefined {
    return this.#read(fileOf(record));
  }

  write(record: Attachment): void {
    if (!this.#made) mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#made = true;
    // In place: a record that a crash cut short is one of a call that was never answered, and counts as that.
    // Without O_TRUNC and rename, both of which make ext4 start writing to the disk (auto_da_alloc).
    const path = join(this.#dir, fileName(record));
    try {
      const fd = openSync(path, O_RDWR | O_CREAT, 0o600);
      try {
        ftruncateSync(fd, writeSync(fd, JSON.stringify(record), 0));
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      // Of a full disk Node does not say where.
      throw ioError('write', path, error);
    }
    if (this.#onDevice) index(this.#onDevice, record);
  }

  remove(record: Attachment | DamagedAttachment): void {
    const file = fileOf(record);
    rmSync(join(this.#dir, file), { force: true });
    if (record.state !== 'damaged' && record.hostDevice) this.#onDevice?.get(record.hostDevice)?.delete(file);
  }

  /** The whole records with this host device. */
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
      // Written by us alone, so what parses is whole.
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

/** Names an attachment in the store, as Calico's IPAM does. */
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

/**
 * No part can contain a colon: the specification forbids it in names, container IDs and interface names
 * alike.
 */
function fileName({ network, containerId, ifName, role }: AttachmentKey): string {
  const name = [network, containerId, ifName, role].join(':');
  return name.length <= 240 ? `${name}.json` : `${createHash('sha256').update(name).digest('hex')}.json`;
}
