import { FlatnetError } from '../error.ts';
import { type Ip, ipCompare } from '../ip/address.ts';
import { lengthOf, type Prefixed, prefixed } from '../ip/cidr.ts';
import { type RangeSet, rangeFor, rangeSetText, roundRobin } from './ranges.ts';
import { belongsTo, ReservationIndex } from './reservation-index.ts';
import { type Files, type Owner, Reservations } from './reservations.ts';

export type { Owner } from './reservations.ts';

export type Allocation = {
  /** The address with its subnet's prefix length, as configured on the pod's interface. */
  readonly address: Prefixed;
  readonly gateway: Ip;
};

/** Other networks that assign addresses from the same subnets. */
export type Shared = {
  /** Whether an address is in such a subnet. */
  contains(ip: Ip): boolean;
  others(): readonly HostLocal[];
};

const ALONE: Shared = { contains: () => false, others: () => [] };

/** Reserves an address for the current owner; false when it is taken. */
type Reserve = (ip: Ip) => boolean;

/**
 * Address allocation within a node, using host-local's own files (same names, same contents), so that either
 * can take over from the other, or both can share a directory.
 *
 * host-local holds flock(2) on a file named `lock` while it works. Node.js lacks flock, but we don't need it:
 * an address can have only one owner because creating an existing file fails. The lock protects host-local's
 * round robin and its search for an owner's earlier addresses. Without it, all we can miss is a concurrent
 * change by another process for the same container, and the CNI specification forbids runtimes from making
 * such concurrent calls.
 */
export class HostLocal {
  readonly #disk: Reservations;
  readonly #sets: readonly RangeSet[];
  readonly #index: ReservationIndex;
  readonly #shared: Shared;

  private constructor(
    disk: Reservations,
    index: ReservationIndex,
    sets: readonly RangeSet[],
    shared: Shared = ALONE,
  ) {
    this.#disk = disk;
    this.#index = index;
    this.#sets = sets;
    this.#shared = shared;
  }

  /** `dir`: `<dataDir>/<network name>`, created if missing. `files`: file system calls, replaced in tests. */
  static open(dir: string, sets: readonly RangeSet[], files?: Files): HostLocal {
    const disk = new Reservations(dir, files);
    return new HostLocal(disk, new ReservationIndex(disk), sets);
  }

  /** The directory with its files. */
  get dir(): string {
    return this.#disk.dir;
  }

  /** Returns an allocator with other ranges that shares this one's directory and index. */
  withRanges(sets: readonly RangeSet[], shared?: Shared): HostLocal {
    return new HostLocal(this.#disk, this.#index, sets, shared);
  }

  /**
   * Reserves one address in each range set: the `requested` address in that set, if any, else the next free
   * one after the last allocated. All or nothing. Throws ADDRESS_TAKEN when the owner already has an address
   * in one of the sets or a requested one is taken, OUT_OF_ADDRESSES when a set is exhausted, CONFIG_INVALID
   * when a requested address is in no set.
   */
  allocate(owner: Owner, requested: readonly Ip[] = []): Allocation[] {
    const wishes = assign(this.#sets, requested);
    this.#index.refresh();
    this.#refuseSecond(owner);
    const isTakenElsewhere = this.#elsewhere();
    const given: Ip[] = [];
    try {
      const allocations = this.#disk.reserving(owner, (link) => {
        const reserve = (ip: Ip): boolean => !isTakenElsewhere(ip) && link(ip);
        return this.#sets.map((set, index) => {
          const wish = wishes[index];
          const ip = wish ? take(set, wish, reserve) : this.#next(set, index, reserve);
          given.push(ip);
          this.#index.set(ip, owner);
          this.#disk.setLastReserved(index, ip);
          return allocation(set, ip);
        });
      });
      this.#index.settle();
      return allocations;
    } catch (error) {
      this.#index.distrust();
      for (const ip of given) this.#disk.remove(ip);
      throw error;
    }
  }

  /**
   * Reserves addresses that the owner uses although they are not reserved, for example because the directory
   * was lost. Returns those that are reserved for someone else.
   */
  restore(owner: Owner, ips: readonly Ip[]): Ip[] {
    const held = this.check(owner);
    const lost = ips.filter((ip) => !held.includes(ip));
    if (lost.length === 0) return [];
    const taken = this.#disk.reserving(owner, (reserve) => lost.filter((ip) => !reserve(ip)));
    this.#index.distrust();
    return taken;
  }

  /**
   * Releases and returns all of the owner's addresses, in any range; possibly none. `exactly`: not those
   * whose files name no interface.
   */
  release(owner: Owner, { exactly = false } = {}): Ip[] {
    const all = this.check(owner);
    const held = exactly ? all.filter((ip) => this.#index.names(ip, owner)) : all;
    for (const ip of held) this.#free(ip);
    this.#index.settle();
    return held;
  }

  /** Returns the owner's addresses: none if its ADD was rolled back or never ran. */
  check(owner: Owner): Ip[] {
    this.#index.refresh();
    const held = this.#index.held(owner);
    if (held.length > 0) return held;
    // The directory's mtime does not reveal changes another process made at the same time as our own.
    this.#index.update();
    return this.#index.held(owner);
  }

  /**
   * Lists every reserved address in order. If a file names no owner, `containerId` and `ifName` are empty.
   */
  list(): { readonly ip: Ip; readonly containerId: string; readonly ifName: string }[] {
    this.#index.scan();
    return [...this.#index.entries]
      .sort(([a], [b]) => ipCompare(a, b))
      .map(([ip, content]) => ({
        ip,
        containerId: '',
        ifName: '',
        ...(typeof content === 'object' && content),
      }));
  }

  /** Removes the files kept for the next reservations. */
  close(): void {
    this.#disk.discardSpares();
  }

  /**
   * Removes what was left by a process killed before it wrote to its file, once it is a minute old: no
   * runtime has been told of the address. Returns the addresses.
   */
  sweep(): Ip[] {
    this.#index.scan();
    this.#disk.sweep();
    const empty = [...this.#index.entries].flatMap(([ip, content]) =>
      content === 'empty' && this.#disk.abandoned(ip) ? [ip] : [],
    );
    for (const ip of empty) this.#free(ip);
    this.#index.settle();
    return empty;
  }

  /**
   * Releases and returns the addresses that belong to none of `valid`, and those that `sweep` frees. A file
   * whose contents no CNI plugin could have written is a manual reservation and is kept.
   */
  gc(valid: readonly Owner[]): Ip[] {
    const empty = this.sweep();
    const owners = Map.groupBy(valid, ({ containerId }) => containerId);
    const stale = [...this.#index.entries].flatMap(([ip, content]) => {
      if (typeof content !== 'object') return [];
      return owners.get(content.containerId)?.some((owner) => belongsTo(content, owner)) ? [] : [ip];
    });
    for (const ip of stale) this.#free(ip);
    this.#disk.discardSpares();
    this.#index.settle();
    return [...empty, ...stale];
  }

  #next(set: RangeSet, index: number, reserve: Reserve): Ip {
    const last = this.#disk.lastReserved(index);
    const found = this.#firstFree(set, last, reserve);
    if (found) return found;
    for (const network of [this, ...this.#shared.others()]) network.sweep();
    const second = this.#firstFree(set, last, reserve);
    if (second) return second;
    throw new FlatnetError(`no IP addresses available in range set: ${rangeSetText(set)}`, {
      code: 'OUT_OF_ADDRESSES',
      operation: 'allocate',
      fix: 'delete pods, or release the addresses of deleted pods (CNI GC)',
    });
  }

  #firstFree(set: RangeSet, last: Ip | undefined, reserve: Reserve): Ip | undefined {
    for (const ip of roundRobin(set, last)) {
      if (!this.#index.entries.has(ip) && reserve(ip)) return ip;
    }
    return undefined;
  }

  /** Whether another network has reserved an address of a subnet that all share. */
  #elsewhere(): (ip: Ip) => boolean {
    const { contains, others } = this.#shared;
    const indexes = others().map((network) => network.#index);
    for (const index of indexes) index.refresh();
    return (ip) => contains(ip) && indexes.some(({ entries }) => entries.has(ip));
  }

  #refuseSecond(owner: Owner): void {
    const second = this.#index.held(owner).find((ip) => this.#sets.some((set) => rangeFor(set, ip)));
    if (!second) return;
    throw new FlatnetError(
      `${second} has been allocated to ${owner.containerId}, duplicate allocation is not allowed`,
      { code: 'ADDRESS_TAKEN' },
    );
  }

  #free(ip: Ip): void {
    if (typeof this.#index.entries.get(ip) === 'object') this.#disk.recycle(ip);
    else this.#disk.remove(ip);
    this.#index.delete(ip);
  }
}

/** Maps each set's index to its requested address. Throws CONFIG_INVALID when an address is in no set. */
function assign(sets: readonly RangeSet[], requested: readonly Ip[]): readonly (Ip | undefined)[] {
  const wishes = sets.map((set) => requested.find((ip) => rangeFor(set, ip)));
  const unused = requested.filter((ip) => !wishes.includes(ip));
  const gateway = wishes.find((ip, i) => ip && sets[i] && rangeFor(sets[i], ip)?.gateway === ip);
  if (gateway) {
    throw new FlatnetError(`requested ip ${gateway} is subnet's gateway`, { code: 'CONFIG_INVALID' });
  }
  if (unused.length > 0) {
    throw new FlatnetError(`failed to allocate all requested IPs: ${unused.join(' ')}`, {
      code: 'CONFIG_INVALID',
      fix: 'request at most one address from each range set',
    });
  }
  return wishes;
}

function take(set: RangeSet, wish: Ip, reserve: Reserve): Ip {
  if (reserve(wish)) return wish;
  throw new FlatnetError(`requested IP address ${wish} is not available in range set ${rangeSetText(set)}`, {
    code: 'ADDRESS_TAKEN',
  });
}

function allocation(set: RangeSet, ip: Ip): Allocation {
  const { subnet, gateway } = rangeFor(set, ip) ?? set[0];
  return { address: prefixed(ip, lengthOf(subnet)), gateway };
}
