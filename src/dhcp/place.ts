import { closeSync } from 'node:fs';
import { FlatnetError } from '../error.ts';
import type { Mac } from '../ip/mac.ts';
import { addressDelete, addressReplace } from '../linux/address.ts';
import { type Link, linkGet } from '../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { netnsId, openNetns } from '../linux/netns.ts';
import { RT_TABLE_MAIN, routeAdd, routeDump } from '../linux/route.ts';
import { RTPROT_KERNEL } from '../linux/route-protocol.ts';
import type { LeaseRecord, LostRoute } from './lease-file.ts';

/** A pod's interface, as seen from inside. */
export class Place implements Disposable {
  readonly netns: number;
  readonly #socket: NetlinkSocket;
  readonly #ifName: string;

  constructor(netns: number, ifName: string) {
    this.netns = netns;
    this.#ifName = ifName;
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns, isBrief: true });
  }

  get #link(): Link {
    return this.#socket.getSync(linkGet(this.#ifName));
  }

  get dev(): number {
    return this.#link.index;
  }

  get mac(): Mac {
    const { mac } = this.#link;
    if (mac !== undefined) return mac;
    throw new FlatnetError('has no MAC', { code: 'NOT_FOUND', operation: 'DHCP', object: this.#ifName });
  }

  /**
   * Where answers to ARP are heard that are for no address yet: an ipvlan's parent passes it none, and is in
   * the node's namespace.
   */
  arpIn(node: string): { readonly netns: string | number; readonly dev: number } {
    const { kind, index, linkIndex } = this.#link;
    const isDeaf = kind === 'ipvlan' && linkIndex !== undefined;
    return isDeaf ? { netns: node, dev: linkIndex } : { netns: this.netns, dev: index };
  }

  /** The interface's routes, which go with its address. */
  routes(): readonly LostRoute[] {
    const { dev } = this;
    const routes = this.#socket
      .dumpSync(routeDump({ family: 4, table: RT_TABLE_MAIN }))
      .filter((route) => route.dev === dev && route.protocol !== RTPROT_KERNEL);
    return routes.map(({ dst, via, scope }) => ({
      dst,
      ...(via !== undefined && { via }),
      ...(scope !== undefined && { scope }),
    }));
  }

  /** Takes the address away, if it is there. */
  remove({ lease: { address } }: LeaseRecord): void {
    const [error] = this.#socket.executeAllSync([addressDelete({ dev: this.dev, address })]);
    if (error && error.errno !== 'EADDRNOTAVAIL') throw error;
  }

  restore({ lease: { address }, lost = [] }: LeaseRecord): void {
    const { dev } = this;
    // Routes on the link come before those by way of it.
    const routes = [...lost].sort((a, b) => Number(a.via !== undefined) - Number(b.via !== undefined));
    const requests = [
      addressReplace({ dev, address }),
      ...routes.map((route) => routeAdd({ ...route, dev })),
    ];
    const error = this.#socket.executeAllSync(requests).find((each) => each && each.errno !== 'EEXIST');
    if (error) throw error;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    closeSync(this.netns);
  }
}

/** Undefined if the path names no namespace any more, or another one. */
export function openPlace({
  netns,
  netnsId: inode,
  ifName,
}: Pick<LeaseRecord, 'netns' | 'netnsId' | 'ifName'>): Place | undefined {
  let fd: number;
  try {
    fd = openNetns(netns);
  } catch {
    return undefined;
  }
  try {
    if (netnsId(fd) === inode) return new Place(fd, ifName);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}
