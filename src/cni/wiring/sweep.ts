import { Queue } from '../../async/queue.ts';
import { FlatnetError } from '../../error.ts';
import { linkDeleteGroup } from '../../linux/link/change.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** The interface group (IFLA_GROUP) of links waiting to be deleted. */
export const DOOMED = 0xf1a7;

/**
 * Milliseconds without a CNI call before a sweep. By then the kernel has usually deleted the links together
 * with their pods' namespaces, and the sweep has nothing to wait for.
 */
const QUIET = 50;
/** Maximum time a link waits, in milliseconds, however many calls arrive. */
const LONGEST = 500;

/**
 * Deletes links in batches. For each request that deletes links, however many, the kernel waits 15–30 ms
 * (RCU) while holding the lock needed for every network change: waiting for that would take longer than the
 * rest of a DEL. So a DEL only takes its link out of service and adds it to the group.
 */
export class Sweeper implements AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #report: (error: unknown) => void;
  readonly #queue = new Queue();
  /** Names of links waiting to be deleted. */
  readonly #doomed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** Deadline of the longest-waiting link, by `performance.now`. */
  #due = 0;

  constructor(netns: string, report: (error: unknown) => void) {
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.#report = report;
  }

  /** Whether a link with this name may be waiting to be deleted. */
  has(name: string): boolean {
    return this.#doomed.has(name);
  }

  /**
   * Schedules a sweep for when no calls have arrived for a moment. `name`: the link just added to the group.
   */
  soon(name?: string): void {
    if (name !== undefined) this.#doomed.add(name);
    if (!this.#timer) this.#due = performance.now() + LONGEST;
    this.#arm();
  }

  /** Postpones a pending sweep in favour of a call, which needs the lock that the sweep would hold. */
  yield(): void {
    if (this.#timer) this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const delay = Math.max(0, Math.min(QUIET, this.#due - performance.now()));
    this.#timer = setTimeout(() => void this.now(), delay);
  }

  /** Deletes the group's current links. Resolves when they are gone; never rejects. */
  now(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#queue.run(() => this.#deleteGroup());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer) await this.now();
    await this.#queue.idle();
    this.#socket.close();
  }

  async #deleteGroup(): Promise<void> {
    const names = [...this.#doomed];
    try {
      await this.#socket.execute([linkDeleteGroup(DOOMED)]);
    } catch (error) {
      // The kernel returns ENODEV for an empty group, e.g. after deleting the links with their namespaces.
      if (!(error instanceof FlatnetError && error.errno === 'ENODEV')) this.#report(error);
    }
    for (const name of names) this.#doomed.delete(name);
  }
}
