import type { Ip } from '../ip/address.ts';
import type { Content, Owner, Reservations } from './reservations.ts';

/**
 * What the folder held when last read, so that a call need not read a hundred files. The files are the truth
 * and this is a hint: it is read again when the folder has changed, and whatever it says of an owner is
 * checked against the file.
 */
export class ReservationIndex {
  readonly #disk: Reservations;
  readonly #entries = new Map<Ip, Content>();
  #readAt = -1n;

  constructor(disk: Reservations) {
    this.#disk = disk;
  }

  get entries(): ReadonlyMap<Ip, Content> {
    return this.#entries;
  }

  set(ip: Ip, owner: Owner): void {
    this.#entries.set(ip, owner);
  }

  delete(ip: Ip): void {
    this.#entries.delete(ip);
  }

  /**
   * The owner's addresses, each checked against its file; those from old releases only if there are no
   * others.
   */
  held(owner: Owner): Ip[] {
    const exact: Ip[] = [];
    const old: Ip[] = [];
    for (const [ip, hint] of this.#entries) {
      if (!belongsTo(hint, owner)) continue;
      const content = this.#disk.read(ip);
      if (!content) this.#entries.delete(ip);
      else this.#entries.set(ip, content);
      if (typeof content !== 'object' || !belongsTo(content, owner)) continue;
      (content.ifName === owner.ifName ? exact : old).push(ip);
    }
    return exact.length > 0 ? exact : old;
  }

  /** After our own changes, which the index already has: they explain the folder's new time. */
  settle(): void {
    this.#readAt = this.#disk.changedAt();
  }

  /** The next use reads the folder, whatever its time. */
  distrust(): void {
    this.#readAt = -1n;
  }

  /** Reads the folder if it has changed. */
  refresh(): void {
    if (this.#disk.changedAt() !== this.#readAt) this.scan();
  }

  /** Reads every file. */
  scan(): void {
    this.#entries.clear();
    this.#readAt = this.#disk.changedAt();
    this.update();
  }

  /**
   * Reads files that are new or named no owner yet, and forgets those that are gone: ten times faster than
   * `scan`.
   */
  update(): void {
    const names = new Set(this.#disk.names(this.#entries));
    for (const ip of this.#entries.keys()) if (!names.has(ip)) this.#entries.delete(ip);
    for (const ip of names) {
      if (typeof this.#entries.get(ip) === 'object') continue;
      const content = this.#disk.read(ip);
      if (content) this.#entries.set(ip, content);
    }
  }
}

/** Whether a file with this content is the owner's; without an interface's name it stands for all of them. */
export function belongsTo(content: Content, owner: Owner): boolean {
  if (typeof content !== 'object' || content.containerId !== owner.containerId) return false;
  return content.ifName === owner.ifName || content.ifName === '';
}
