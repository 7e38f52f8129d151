import { FlatnetError } from '../error.ts';
import { type Ip, ipCompare } from '../ip/address.ts';
import { lengthOf, type Prefixed, prefixed } from '../ip/cidr.ts';
import { type RangeSet, rangeFor, rangeSetText, roundRobin } from './ranges.ts';
import { belongsTo, ReservationIndex } from './reservation-index.ts';
import { type Files, type Owner, Reservations } from './reservations.ts';

export type { Owner } from './reservations.ts';

export type Allocation = {
  /** The address with the length of its subnet, as the pod's interface holds it. */
  readonly address: Prefixed;
  readonly gateway: Ip;
};

/** Reserves an address for the call's owner; false when it is taken. */
type Reserve = (ip: Ip) => boolean;

/**
 * Addresses inside a node, in host-local's own files (same names, same contents), so that either may take
 * over from the other, or both may share a folder.
 *
 * host-local holds flock(2) on a file `lock` while it works. Node has no flock, and does not need it: an
 * address gets only one owner because creating a file that exists fails. The lock protects host-local's round
 * robin and its search for an owner's earlier addresses. Without it we can only miss what another process
 * does for the same container at the same moment, which the CNI specification forbids the runtime to ask for.
 */
export class HostLocal {
  readonly #disk: Reservations;
  readonly #sets: readonly RangeSet[];
  readonly #index: ReservationIndex;

  private constructor(disk: Reservations, index: ReservationIndex, sets: readonly RangeSet[]) {
    this.#disk = disk;
    this.#index = index;
    this.#sets = sets;
  }

  /** `dir`: `<dataDir>/<network name>`, created if missing. `files`: for tests. */
  static open(dir: string, sets: readonly RangeSet[], files?: Files): HostLocal {
    const disk = new Reservations(dir, files);
    return new HostLocal(disk, new ReservationIndex(disk), sets);
  }

  /** The same folder and what is known of it, with other ranges to hand out addresses from. */
  withRanges(sets: readonly RangeSet[]): HostLocal {
    return new HostLocal(this.#disk, this.#index, sets);
  }

  /**
   * Reserves one address in each range set: the one of `requested` that lies in it, or the next free one
   * after the last handed out. All or nothing. Throws ADDRESS_TAKEN when the owner already has an address
   * there or a requested one is taken, OUT_OF_ADDRESSES when a set is used up, CONFIG_INVALID when a
   * requested one lies in no set.
   */
  allocate(owner: Owner, requested: readonly Ip[] = []): Allocation[] {
    const wishes = assign(this.#sets, requested);
    this.#index.refresh();
    this.#refuseSecond(owner);
    const given: Ip[] = [];
    try {
      const allocations = this.#disk.reserving(owner, (reserve) =>
        this.#sets.map((set, index) => {
          const wish = wishes[index];
          const ip = wish ? take(set, wish, reserve) : this.#next(set, index, reserve);
          given.push(ip);
          this.#index.set(ip, owner);
          this.#disk.setLastReserved(index, ip);
          return allocation(set, ip);
        }),
      );
      this.#index.settle();
      return allocations;
    } catch (error) {
      this.#index.distrust();
      for (const ip of given) this.#disk.remove(ip);
      throw error;
    }
  }

  /** Releases all the owner has, in any range, and returns it; that may be nothing. */
  release(owner: Owner): Ip[] {
    const held = this.check(owner);
    for (const ip of held) this.#free(ip);
    this.#index.settle();
    return held;
  }

  /** What the owner has: nothing if its ADD was undone or never done. */
  check(owner: Owner): Ip[] {
    this.#index.refresh();
    const held = this.#index.held(owner);
    if (held.length > 0) return held;
    // What another process does while we change the folder ourselves does not show in the folder's time.
    this.#index.update();
    return this.#index.held(owner);
  }

  /**
   * Every reserved address in order. For a file that names no owner, `containerId` and `ifName` are empty.
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

  /**
   * Releases what belongs to none of `valid` and returns it. An empty file, which host-local leaves when
   * killed before it writes, was never reported to a runtime and is removed once it is a minute old. A file
   * whose text no CNI plugin wrote is somebody's own reservation and stays.
   */
  gc(valid: readonly Owner[]): Ip[] {
    this.#index.scan();
    this.#disk.sweep();
    const owners = Map.groupBy(valid, ({ containerId }) => containerId);
    const stale = [...this.#index.entries].filter(([ip, content]) => {
      if (content === 'foreign') return false;
      if (content === 'empty') return this.#disk.abandoned(ip);
      return !owners.get(content.containerId)?.some((owner) => belongsTo(content, owner));
    });
    for (const [ip] of stale) this.#free(ip);
    this.#index.settle();
    return stale.map(([ip]) => ip);
  }

  #next(set: RangeSet, index: number, reserve: Reserve): Ip {
    const last = this.#disk.lastReserved(index);
    const found = this.#firstFree(set, last, reserve);
    if (found) return found;
    this.#index.scan();
    const second = this.#firstFree(set, last, reserve);
    if (second) return second;
    throw new FlatnetError(`no IP addresses available in range set: ${rangeSetText(set)}`, {
      code: 'OUT_OF_ADDRESSES',
      operation: 'allocate',
      fix: 'delete pods, or give back the addresses of pods that are gone (CNI GC)',
    });
  }

  #firstFree(set: RangeSet, last: Ip | undefined, reserve: Reserve): Ip | undefined {
    for (const ip of roundRobin(set, last)) {
      if (!this.#index.entries.has(ip) && reserve(ip)) return ip;
    }
    return undefined;
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
    this.#disk.remove(ip);
    this.#index.delete(ip);
  }
}

/** The requested addresses by the index of their set. Throws CONFIG_INVALID when one lies in no set. */
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
      fix: 'request at most one address of each range set',
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
