import { setTimeout as sleep } from 'node:timers/promises';
import { FlatnetError } from '../../error.ts';
import { linkDeleteGroup } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** The interface group (IFLA_GROUP) of links that wait to be deleted. */
export const DOOMED = 0xf1a7;

/** Milliseconds in which DELs gather for one sweep. */
const GATHER = 10;

/**
 * Deletes links by the group. The kernel waits 15–30 ms (RCU) for each request that deletes links, however many there are:
 * a DEL that waited for its own would take longer than all else together. So a DEL only takes its link out of service and
 * puts it into the group.
 */
export class Sweeper implements AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #report: (error: unknown) => void;
  #next: Promise<void> | undefined;
  #running: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(netns: string, report: (error: unknown) => void) {
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.#report = report;
  }

  /** Whether links may be on their way out. */
  get busy(): boolean {
    return this.#waiting > 0;
  }

  /** Deletes what is doomed by now, soon. Resolves when it is gone; never rejects. */
  sweep(): Promise<void> {
    if (this.#next) return this.#next;
    this.#waiting++;
    this.#next = sleep(GATHER).then(async () => {
      this.#next = undefined;
      this.#running = this.#running.then(() => this.#deleteGroup());
      await this.#running;
      this.#waiting--;
    });
    return this.#next;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#next;
    await this.#running;
    this.#socket.close();
  }

  async #deleteGroup(): Promise<void> {
    try {
      await this.#socket.execute([linkDeleteGroup(DOOMED)]);
    } catch (error) {
      // The kernel says ENODEV for an empty group, as when the namespaces were quicker to take their ends with them.
      if (!(error instanceof FlatnetError && error.errno === 'ENODEV')) this.#report(error);
    }
  }
}
