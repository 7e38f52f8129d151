import { FlatnetError } from '../error.ts';
import { linkDump } from '../linux/link/link.ts';
import type { NetlinkSocket } from '../linux/netlink/socket.ts';
import { type LinkItem, linkItem } from './kinds/link.ts';

/** A device as an item, without what only the kernel knows it by. */
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

  /** Throws NOT_FOUND. */
  readonly indexOf = (name: string): number => {
    const device = this.#byName.get(name);
    if (device) return device.index;
    throw new FlatnetError('there is no such device', { code: 'NOT_FOUND', object: name });
  };

  async read(): Promise<void> {
    const dumped = await this.#socket.dump(linkDump());
    this.#names = new Map(dumped.map(({ index, name }) => [index, name]));
    this.#byName = new Map(
      dumped.map((link) => [link.name, { ...linkItem(link, this.nameOf), index: link.index }]),
    );
  }
}
