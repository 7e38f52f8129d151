import { addressDelete, addressDump } from '../../src/linux/address.ts';
import { linkSet } from '../../src/linux/link/change.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { type Route, RT_TABLE_MAIN, routeDelete, routeDump, routeText } from '../../src/linux/route.ts';

/** `proto bird`, and the protocol of the agent's routes that are not announced. */
const LEARNED = [12, 111];

/**
 * Inspects and damages a node's `tunl0` and routes without starting programs, which takes a second each on an
 * emulated machine.
 */
export class Tunnel implements Disposable {
  readonly #socket: NetlinkSocket;

  constructor(netns: string) {
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** Returns the state that must be restored, without the index, which a recreated device does not keep. */
  async state(): Promise<string[]> {
    const socket = this.#socket;
    const link = await socket.get(linkGet('tunl0')).catch(() => undefined);
    const all = await socket.dump(routeDump({ family: 4, table: RT_TABLE_MAIN }));
    const routes = all.map((route) => {
      const dev = route.dev !== undefined && route.dev === link?.index ? 'tunl0' : 'elsewhere';
      return `${routeText({ ...route, dev: undefined })} ${dev} proto ${route.protocol}`;
    });
    if (!link) return ['no tunl0', ...routes];
    const addresses = await socket.dump(addressDump(4, link.index));
    return [
      `tunl0 ${link.up ? 'up' : 'down'} mtu ${link.mtu} ${link.alias ?? ''}`,
      ...addresses.filter(({ dev }) => dev === link.index).map(({ address }) => `tunl0 ${address}`),
      ...routes,
    ];
  }

  async down(): Promise<void> {
    await this.#socket.execute(linkSet(await this.#index(), { up: false }));
  }

  async setMtu(mtu: number): Promise<void> {
    await this.#socket.execute(linkSet(await this.#index(), { mtu }));
  }

  async flushAddresses(): Promise<void> {
    const dev = await this.#index();
    const found = await this.#socket.dump(addressDump(4, dev));
    const own = found.filter((address) => address.dev === dev);
    await this.#socket.execute(own.map(({ address }) => addressDelete({ dev, address })));
  }

  /** Deletes the first `count` of the routes into the tunnel. */
  async deleteRoutes(count = Number.POSITIVE_INFINITY): Promise<void> {
    const dev = await this.#index();
    const found = await this.#socket.dump(routeDump({ family: 4, table: RT_TABLE_MAIN }));
    const into = (route: Route): boolean => route.dev === dev && LEARNED.includes(route.protocol ?? 0);
    await this.#socket.execute(found.filter(into).slice(0, count).map(routeDelete));
  }

  async #index(): Promise<number> {
    return (await this.#socket.get(linkGet('tunl0'))).index;
  }
}
