import { FlatnetError } from '../error.ts';
import { type Link, linkDump, linkGet } from '../linux/link/link.ts';
import type { NetlinkSocket } from '../linux/netlink/socket.ts';
import { type LinkItem, linkItem } from './kinds/link/item.ts';

/** A device as an item, with its index. */
export type KnownDevice = LinkItem & { readonly index: number };

/** The devices of a network namespace as last read: all requests name them by index. */
export class Devices {
  readonly #socket: NetlinkSocket;
  #byName = new Map<string, KnownDevice>();
  #names = new Map<number, string>();

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  get byName(): ReadonlyMap<string, KnownDevice> {
    return this.#byName;
  }

  readonly nameOf = (index: number): string | undefined => this.#names.get(index);

  /** Throws NOT_FOUND for an unknown device. */
  readonly indexOf = (name: string): number => {
    const device = this.#byName.get(name);
    if (device) return device.index;
    throw new FlatnetError('no such device', { code: 'NOT_FOUND', object: name });
  };

  /** Reads all devices. */
  async read(): Promise<void> {
    const links = await this.#socket.dump(linkDump());
    this.#byName = new Map();
    // Devices refer to their masters, so all names are collected first.
    this.#names = new Map(links.map(({ index, name }) => [index, name]));
    for (const link of links) this.#put(link);
  }

  /** Refreshes some devices, at a cost independent of the number of devices on the node. */
  refresh(names: Iterable<string>): void {
    for (const name of names) {
      const link = this.#find(name);
      const known = this.#byName.get(name);
      // One that is absent may have been renamed: its next notification has to be recognised.
      if (known && link && known.index !== link.index) this.#names.delete(known.index);
      if (link) this.#put(link);
      else this.#byName.delete(name);
    }
  }

  #put(link: Link): void {
    const { name, index } = link;
    const former = this.#names.get(index) ?? name;
    if (former !== name && this.#byName.get(former)?.index === index) this.#byName.delete(former);
    this.#names.set(index, name);
    this.#byName.set(name, { ...linkItem(link, this.nameOf), index });
  }

  #find(name: string): Link | undefined {
    try {
      return this.#socket.getSync(linkGet(name));
    } catch (error) {
      if (error instanceof FlatnetError && error.errno === 'ENODEV') return undefined;
      throw error;
    }
  }
}
