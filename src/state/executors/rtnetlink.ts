import { FlatnetError } from '../../error.ts';
import type { MonitorEvent } from '../../linux/event.ts';
import { linkSet } from '../../linux/link/change.ts';
import { Monitor } from '../../linux/monitor.ts';
import type { Request } from '../../linux/netlink/message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { Devices } from '../devices.ts';
import { type Change, devicesOf, type Item, isOurs, type KernelState, keyOf } from '../item.ts';
import type { LinkItem } from '../kinds/link/item.ts';
import { renamedLinks } from '../kinds/link/link.ts';
import { KINDS } from '../kinds/registry.ts';
import type { Listener, RtnetlinkKind, View } from '../protocols/rtnetlink.ts';
import { asError, type Executor, type Watch } from './executor.ts';

/** Milliseconds between two readings of notifications; the first is read at once. */
const GATHER = 5;
/** This many requests take less time than a round trip through the thread pool. */
const AT_ONCE = 64;
/** Errors that mean an object to delete does not exist. */
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV', 'EADDRNOTAVAIL']);

const kinds = new Map<string, RtnetlinkKind<Item>>();
for (const kind of KINDS) if (kind.executor === 'rtnetlink') kinds.set(kind.kind, kind);
const listeners: readonly Listener[] = KINDS.filter((kind) => 'contradiction' in kind);

/** Everything that rtnetlink holds: devices, addresses, routes, rules, neighbours, FDB entries. */
export class Rtnetlink implements Executor {
  readonly devices: Devices;
  readonly #netns: string | number | undefined;
  readonly #socket: NetlinkSocket;
  readonly #onEvent: (event: MonitorEvent) => void;
  #hasListened = false;
  #monitor: Monitor | undefined;

  /** Throws SYSCALL, or NOT_FOUND if the namespace does not exist. */
  constructor(netns: string | number | undefined, onEvent: (event: MonitorEvent) => void) {
    this.#netns = netns;
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.devices = new Devices(this.#socket);
    this.#onEvent = onEvent;
  }

  async read(desired: KernelState): Promise<Item[]> {
    await this.devices.read();
    const view = this.#view(desired);
    const items: Item[] = [];
    const take = (item: Item): void => {
      if (desired.has(keyOf(item)) || isOurs(item, desired)) items.push(item);
    };
    for (const device of [...this.devices.byName.values(), ...renamedLinks(desired, this.devices.byName)])
      take(withoutIndex(device));
    for (const kind of kinds.values()) {
      for (const dump of kind.dumps(view)) for (const item of await this.#socket.dump(dump)) take(item);
    }
    return items;
  }

  async find(items: readonly Item[]): Promise<(Item | undefined)[]> {
    this.devices.refresh(new Set(items.flatMap(devicesOf)));
    return items.map((item) => this.#findOne(item));
  }

  async apply(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    const { indexOf } = this.devices;
    const errors = await this.#send(changes, (change, kind) => kind.requests(change, indexOf));
    for (const [i, change] of changes.entries()) {
      const error = errors[i];
      if (!(error instanceof FlatnetError) || error.errno === undefined) continue;
      const fallback = kinds.get(change.item.kind)?.fallback?.(change, error.errno, indexOf);
      if (fallback) [errors[i]] = await this.#send([change], () => fallback);
    }
    const made = [...changes.keys()].filter(
      (i) => !errors[i] && kinds.get(changes[i]?.item.kind ?? '')?.afterwards,
    );
    if (made.length === 0) return errors;
    const rest = await this.#send(
      made.flatMap((i) => changes[i] ?? []),
      (change, kind) => kind.afterwards?.(change, indexOf) ?? [],
    );
    for (const [at, i] of made.entries()) errors[i] = rest[at];
    return errors;
  }

  async watch(watch: Watch): Promise<void> {
    const monitor = Monitor.open({ netns: this.#netns, signal: watch.signal, gather: GATHER });
    this.#monitor = monitor;
    watch.onListening();
    if (this.#hasListened) this.#onEvent({ type: 'overflow' });
    this.#hasListened = true;
    await monitor.run((event) => {
      this.#onEvent(event);
      const what = this.#contradiction(event, watch);
      if (what !== undefined) watch.onContradiction(what, this.#recheck(event, watch));
    });
  }

  /** Handles the notifications that have arrived so far. */
  catchUp(): void {
    this.#monitor?.catchUp();
  }

  /**
   * Sets a device's MAC to what it is, as far as it is known. With arp_notify and ndisc_notify, the kernel
   * announces it to the neighbours (NETDEV_CHANGEADDR).
   */
  async announce(name: string): Promise<void> {
    const device = this.devices.byName.get(name);
    if (device?.mac === undefined) return;
    const [error] = await this.#socket.executeAll(linkSet(device.index, { mac: device.mac }));
    if (error && error.errno !== 'ENODEV') throw error;
  }

  close(): void {
    this.#socket.close();
  }

  /** Returns what in an event contradicts the desired state; undefined for our own changes. */
  #contradiction(event: MonitorEvent, watch: Watch): string | undefined {
    if (event.type === 'overflow') return 'notifications were lost';
    if (event.type === 'miss') return undefined;
    if (event.portId === this.#socket.portId || this.#isAwaited(event, watch)) return undefined;
    const view = { ...this.#view(watch.desired()), involves: watch.involves };
    for (const kind of listeners) {
      const what = kind.contradiction(event, view);
      if (what !== undefined) return what;
    }
    return undefined;
  }

  /** Whether an event announces a device that the next run reads: CNI's, for a pod just admitted. */
  #isAwaited(event: MonitorEvent, { isDue }: Watch): boolean {
    if (event.type !== 'new' || event.object !== 'link') return false;
    const { name, index } = event.value;
    return this.devices.byName.get(name)?.index !== index && isDue(name);
  }

  /**
   * Returns a check to run later: whether the contradiction persists. CNI creates and removes pods' devices
   * and routes, and their events may arrive before the desired state follows, or before the device is known,
   * so they may turn out to be right. A change to a known device that is still wanted always counts:
   * its routes may have vanished with its state.
   */
  #recheck(event: MonitorEvent, watch: Watch): () => boolean {
    if (event.type === 'overflow') return () => true;
    const persists = (): boolean => this.#contradiction(event, watch) !== undefined;
    if (event.type === 'miss' || event.object !== 'link') return persists;
    const { name, index } = event.value;
    const isKnown = (): boolean => this.devices.byName.get(name)?.index === index;
    if (event.type === 'del' || isKnown()) return () => watch.involves(name) || persists();
    return () => !isKnown() && persists();
  }

  #view(desired: KernelState): View {
    const { byName, nameOf } = this.devices;
    return { desired, devices: byName, nameOf };
  }

  #findOne(item: Item): Item | undefined {
    const kind = kinds.get(item.kind);
    const { byName, indexOf, nameOf } = this.devices;
    const device = byName.get(kind?.provides?.(item) ?? '');
    if (device) {
      return withoutIndex(device);
    }
    try {
      const single = kind?.single?.(item, indexOf, nameOf);
      if (!single) return undefined;
      const { by, request } = single;
      const found = by === 'get' ? [this.#socket.getSync(request)] : this.#socket.dumpSync(request);
      return found.find((each) => keyOf(each) === keyOf(item));
    } catch (error) {
      // The device is absent, or the kernel has no such object.
      if (error instanceof FlatnetError && (error.code === 'NETLINK' || error.code === 'NOT_FOUND'))
        return undefined;
      throw error;
    }
  }

  /** Sends the requests of all changes at once; returns the first error of each change, if any. */
  async #send(
    changes: readonly Change[],
    requestsOf: (change: Change, kind: RtnetlinkKind<Item>) => readonly Request[],
  ): Promise<(Error | undefined)[]> {
    const errors = new Array<Error | undefined>(changes.length).fill(undefined);
    const requests: Request[] = [];
    const owners: number[] = [];
    for (const [i, change] of changes.entries()) {
      const kind = kinds.get(change.item.kind);
      try {
        for (const request of kind ? requestsOf(change, kind) : []) {
          requests.push(request);
          owners.push(i);
        }
      } catch (error) {
        errors[i] = asError(error);
      }
    }
    const answers =
      requests.length <= AT_ONCE
        ? this.#socket.executeAllSync(requests)
        : await this.#socket.executeAll(requests);
    for (const [i, owner] of owners.entries()) {
      const [change, error] = [changes[owner], answers[i]];
      if (change && error && !isBenign(change, error)) errors[owner] ??= explained(change, error);
    }
    return errors;
  }
}

function withoutIndex({ index: _, ...device }: LinkItem & { readonly index?: number }): LinkItem {
  return device;
}

function isBenign(change: Change, error: FlatnetError): boolean {
  if (change.action === 'delete' && GONE.has(error.errno ?? '')) return true;
  return kinds.get(change.item.kind)?.isBenign?.(change, error) ?? false;
}

function explained(change: Change, error: FlatnetError): FlatnetError {
  return kinds.get(change.item.kind)?.explain?.(change, error) ?? error;
}
