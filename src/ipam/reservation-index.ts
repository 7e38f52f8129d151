import type { Ip } from '../ip/address.ts';
import type { Content, Owner, Reservations } from './reservations.ts';

/**
 * Cache of the directory's contents, so that a call need not read a hundred files. The files are
 * authoritative and the cache is only a hint: it is refreshed when the directory changes, and each of an
 * owner's entries is verified against its file.
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
   * Returns the owner's addresses, each verified against its file. Addresses from old releases, which record
   * no interface, are returned only if there are no others.
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

  /** Whether the address's file names the owner's interface. */
  names(ip: Ip, { ifName }: Owner): boolean {
    const content = this.#entries.get(ip);
    return typeof content === 'object' && content.ifName === ifName;
  }

  /** Accepts the directory's new mtime after our own changes, which the index already reflects. */
  settle(): void {
    this.#readAt = this.#disk.changedAt();
  }

  /** Makes the next `refresh` read the directory whatever its mtime. */
  distrust(): void {
    this.#readAt = -1n;
  }

  /** Rereads the directory if it has changed. */
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
   * Reads files that are new or had no owner yet, and drops entries whose files are gone. Ten times faster
   * than `scan`.
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

/** Whether a file with this content is the owner's; one without an interface name covers every interface. */
export function belongsTo(content: Content, owner: Owner): boolean {
  if (typeof content !== 'object' || content.containerId !== owner.containerId) return false;
  return content.ifName === owner.ifName || content.ifName === '';
}
