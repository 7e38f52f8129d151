import { type Family, familyOf, type Ip, ipToBytes } from '../../../ip/address.ts';
import { addressOf, lengthOf } from '../../../ip/cidr.ts';
import { sockaddr } from '../../../linux/sockaddr.ts';
import type { UdpSettings } from '../settings.ts';

/** Where packets for a subnet go: the node's address as a struct sockaddr. */
export type Destination = { readonly node: Ip; readonly family: Family; readonly sockaddr: Buffer };

/** Destinations remembered one by one, so that a scan cannot make the table grow. */
const REMEMBERED = 4096;

/** Which node has an address, and which addresses nodes send from. */
export class Table {
  readonly #byLength: Record<Family, (readonly [length: number, subnets: Map<string, Destination>])[]> = {
    4: [],
    6: [],
  };
  readonly #remembered = new Map<string, Destination | undefined>();
  readonly #senders: ReadonlySet<string>;

  constructor({ port, routes, senders }: Pick<UdpSettings, 'port' | 'routes' | 'senders'>) {
    for (const { subnet, node } of routes) {
      const lengths = this.#byLength[familyOf(subnet)];
      const length = lengthOf(subnet);
      let entry = lengths.find(([each]) => each === length);
      if (!entry) {
        entry = [length, new Map()];
        lengths.push(entry);
      }
      const destination = { node, family: familyOf(node), sockaddr: sockaddr(node, port) };
      entry[1].set(
        masked(Buffer.from(ipToBytes(addressOf(subnet))), 0, familyOf(subnet), length),
        destination,
      );
    }
    for (const lengths of Object.values(this.#byLength)) lengths.sort(([a], [b]) => b - a);
    const all = [...routes.map(({ node }) => node), ...senders];
    this.#senders = new Set(all.map((ip) => Buffer.from(ipToBytes(ip)).toString('latin1')));
  }

  /** The node for the address at `at`; undefined for none. */
  lookup(bytes: Buffer, at: number, family: Family): Destination | undefined {
    const address = bytes.toString('latin1', at, at + (family === 4 ? 4 : 16));
    const remembered = this.#remembered.get(address);
    if (remembered !== undefined || this.#remembered.has(address)) return remembered;
    const found = this.#search(bytes, at, family);
    if (this.#remembered.size >= REMEMBERED) this.#remembered.clear();
    this.#remembered.set(address, found);
    return found;
  }

  /** Whether a node sends from the address at `at`. */
  isSender(bytes: Buffer, at: number, family: Family): boolean {
    return this.#senders.has(bytes.toString('latin1', at, at + (family === 4 ? 4 : 16)));
  }

  #search(bytes: Buffer, at: number, family: Family): Destination | undefined {
    for (const [length, subnets] of this.#byLength[family]) {
      const found = subnets.get(masked(bytes, at, family, length));
      if (found) return found;
    }
    return undefined;
  }
}

/** The first bits of an address, as text. */
function masked(bytes: Buffer, at: number, family: Family, length: number): string {
  const copy = Buffer.alloc(family === 4 ? 4 : 16);
  bytes.copy(copy, 0, at, at + copy.length);
  const whole = length >> 3;
  if (length % 8 !== 0) copy[whole] = (copy[whole] ?? 0) & (0xff << (8 - (length % 8)));
  copy.fill(0, Math.ceil(length / 8));
  return copy.toString('latin1');
}
