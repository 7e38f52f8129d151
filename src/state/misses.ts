import { messageOf } from '../error.ts';
import type { Miss as Event } from '../linux/event.ts';
import { fdbDump, fdbReplace } from '../linux/fdb.ts';
import { NUD_REACHABLE, neighbourDump, neighbourReplace } from '../linux/neighbour.ts';
import type { Request } from '../linux/netlink/message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import type { Log } from '../log.ts';
import type { Devices } from './devices.ts';
import type { FdbItem, Resolve } from './kinds/fdb.ts';
import { isOnDemand } from './kinds/link/item.ts';
import type { NeighbourItem } from './kinds/neighbour.ts';
import { OUR_ALIAS } from './ownership.ts';

/**
 * Answers misses on on-demand devices with entries that age: the kernel asks again while they are in use.
 */
export class Misses implements Disposable {
  readonly #devices: Devices;
  readonly #resolve: Resolve;
  readonly #log: Log;
  /** A separate socket, as misses are answered even during a run. */
  readonly #socket: NetlinkSocket;

  constructor(netns: string | number | undefined, devices: Devices, resolve: Resolve, log: Log) {
    this.#devices = devices;
    this.#resolve = resolve;
    this.#log = log;
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  }

  answer({ ip, mac }: Event): void {
    const miss = ip !== undefined ? { ip } : mac !== undefined ? { mac } : undefined;
    if (!miss) return;
    this.#write(this.#resolve(miss)).catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'answering a miss failed');
    });
  }

  /** Corrects earlier answers that are now outdated. */
  async correct(): Promise<void> {
    const wrong: (NeighbourItem | FdbItem)[] = [];
    for (const device of this.#devices.byName.values()) {
      if (!isOnDemand(device) || !device.alias?.startsWith(OUR_ALIAS)) continue;
      for (const { ip, mac } of await this.#socket.dump(neighbourDump({ dev: device.index }))) {
        const answer = this.#resolve({ ip });
        const right = answer.find((item) => item.kind === 'neighbour');
        if (mac !== undefined && right && right.mac !== mac) wrong.push(...answer);
      }
      for (const { mac, dst } of await this.#socket.dump(fdbDump(device.index))) {
        const right = this.#resolve({ mac }).find((item) => item.kind === 'fdb' && item.dev === device.name);
        if (dst !== undefined && right?.kind === 'fdb' && right.dst !== dst) wrong.push(right);
      }
    }
    await this.#write(wrong);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  async #write(items: readonly (NeighbourItem | FdbItem)[]): Promise<void> {
    const requests = items.flatMap((item): Request[] => {
      const dev = this.#devices.byName.get(item.dev)?.index;
      if (dev === undefined) return [];
      const state = NUD_REACHABLE;
      if (item.kind === 'fdb') return [fdbReplace({ dev, mac: item.mac, dst: item.dst, state })];
      return [neighbourReplace({ dev, ip: item.ip, mac: item.mac, state })];
    });
    await this.#socket.execute(requests);
  }
}
