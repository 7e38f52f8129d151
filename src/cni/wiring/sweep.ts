import { Queue } from '../../async/queue.ts';
import { FlatnetError } from '../../error.ts';
import { linkDeleteGroup } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';

/** The interface group (IFLA_GROUP) of links that wait to be deleted. */
export const DOOMED = 0xf1a7;

/**
 * Milliseconds without a CNI call before a sweep. By then the kernel has usually taken the links along with
 * their pods' namespaces, and the sweep finds nothing to wait for.
 */
const QUIET = 50;
/** Milliseconds a link waits at most, however many calls come. */
const LONGEST = 500;

/**
 * Deletes links by the group. The kernel waits 15–30 ms (RCU), with the lock that every change of the network
 * needs, for each request that deletes links, however many there are: a DEL that waited for its own would
 * take longer than all else together. So a DEL only takes its link out of service and puts it into the group.
 */
export class Sweeper implements AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #report: (error: unknown) => void;
  readonly #queue = new Queue();
  /** Names of links that wait. */
  readonly #doomed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** When the link that has waited longest has to go, by `performance.now`. */
  #due = 0;

  constructor(netns: string, report: (error: unknown) => void) {
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.#report = report;
  }

  /** Whether a link of this name may be on its way out. */
  has(name: string): boolean {
    return this.#doomed.has(name);
  }

  /** Deletes the group's links once no call has come for a moment. `name`: the link just added to it. */
  soon(name?: string): void {
    if (name !== undefined) this.#doomed.add(name);
    if (!this.#timer) this.#due = performance.now() + LONGEST;
    this.#arm();
  }

  /** A call is being served: a pending sweep, which would hold the lock that the call needs, waits. */
  yield(): void {
    if (this.#timer) this.#arm();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const delay = Math.max(0, Math.min(QUIET, this.#due - performance.now()));
    this.#timer = setTimeout(() => void this.now(), delay);
  }

  /** Deletes what is in the group by now. Resolves when it is gone; never rejects. */
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
      // The kernel says ENODEV for an empty group, as when it took the links with their pods' namespaces.
      if (!(error instanceof FlatnetError && error.errno === 'ENODEV')) this.#report(error);
    }
    for (const name of names) this.#doomed.delete(name);
  }
}
