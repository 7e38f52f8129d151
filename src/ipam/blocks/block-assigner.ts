import type { IpPool, IpReservation } from '../../cluster/resources.ts';
import { FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import { encodeBlock, encodeHandle, type Handle } from '../../store/etcd/block-codec.ts';
import type { IpamKeys } from '../../store/etcd/block-keys.ts';
import type { Kv, Operation } from '../../store/kv/kv.ts';
import type { Assigned, Assigner, AssignRequest } from '../assigner.ts';
import { type Allocation, type Block, type Owner, ordinalOf, take } from './block.ts';
import { freeOnce, type What } from './free.ts';
import type { Leak } from './leak.ts';
import { type FreeAddress, type PickContext, pickAny, pickRequested } from './pick.ts';
import { poolName, usablePools } from './pools.ts';
import { IpamRecords, type Stored, unchanged } from './records.ts';
import { CONFLICT, retrying } from './retry.ts';
import { Turns } from './turns.ts';

export type BlockAssignerOptions = {
  readonly kv: Kv;
  readonly keys: IpamKeys;
  readonly node: string;
  /** As they are now, like the next. */
  readonly nodeLabels: () => Readonly<Record<string, string>>;
  readonly resources: () => {
    readonly ipPools: readonly IpPool[];
    readonly ipReservations: readonly IpReservation[];
  };
  /** Milliseconds since 1970; Date.now unless told. */
  readonly clock?: () => number;
  readonly random?: () => number;
};

/**
 * Addresses out of blocks that this node claims in the store. Whatever changes, changes in one transaction:
 * an address, its block and its handle, for both families at once. So the keys agree at every revision of the
 * store, whoever is killed when, and `checkIpam` may be asked at any time. When an answer was lost
 * (STORE_UNAVAILABLE), the handle may hold addresses: ask again for the same ones, or release it.
 */
export class BlockAssigner implements Assigner {
  readonly #options: BlockAssignerOptions;
  readonly #records: IpamRecords;
  readonly #random: () => number;
  /** Pods of one node that start together would only race for the same block. */
  readonly #turns = new Turns();

  constructor(options: BlockAssignerOptions) {
    this.#options = options;
    this.#records = new IpamRecords(options.kv, options.keys);
    this.#random = options.random ?? Math.random;
  }

  async assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]> {
    checkRequest(request);
    const attempt = (): Promise<readonly Assigned[] | typeof CONFLICT> => this.#assignOnce(request);
    return this.#turns.take(() => retrying('address assign', this.#random, attempt, signal), signal);
  }

  release(handle: string, signal?: AbortSignal): Promise<readonly Ip[]> {
    return this.#turns.take(() => this.#free({ handle }), signal);
  }

  /**
   * Frees what the handle has by these very allocations, unless it turns out to be alive. That is asked while
   * no assignment is under way: whoever makes a handle live before he asks for its addresses never gets one
   * that goes right after.
   */
  releaseLeak(
    { handle, addresses }: Leak,
    isLive: (handle: string) => Promise<boolean>,
  ): Promise<readonly Ip[]> {
    const which = (ip: Ip, { sequence }: Allocation): boolean =>
      addresses.some((each) => each.ip === ip && each.sequence === sequence);
    const blocks = addresses.map(({ block }) => block);
    return this.#turns.take(async () =>
      (await isLive(handle)) ? [] : this.#free({ handle, blocks, which }),
    );
  }

  async held(handle: string): Promise<readonly Assigned[]> {
    const { handle: stored } = await this.#records.handle(handle);
    return (await this.#verified(handle, stored.value)).map((holding) => this.#assigned(holding));
  }

  /** The blocks whose addresses this node answers for. */
  async ownBlocks(): Promise<readonly Cidr[]> {
    const affinities = await this.#records.affinities(this.#options.node);
    return affinities.filter(({ value }) => value === 'confirmed').map(({ cidr }) => cidr);
  }

  #free(what: What): Promise<readonly Ip[]> {
    const attempt = (): Promise<readonly Ip[] | typeof CONFLICT> =>
      freeOnce(this.#records, what, this.#now());
    return retrying('address release', this.#random, attempt);
  }

  async #assignOnce(request: AssignRequest): Promise<readonly Assigned[] | typeof CONFLICT> {
    const { node } = this.#options;
    const [{ handle, config }, affinities] = await Promise.all([
      this.#records.handle(request.handle),
      this.#records.affinities(node),
    ]);
    const held = await this.#verified(request.handle, handle.value);
    const missing = request.families.filter((family) => !held.some(({ ip }) => familyOf(ip) === family));
    const confirmed = affinities.filter(({ value }) => value === 'confirmed').map(({ cidr }) => cidr);
    const own = missing.length > 0 ? await this.#records.blocks(confirmed) : [];
    const { ipPools: pools, ipReservations } = this.#options.resources();
    const context: PickContext = {
      records: this.#records,
      node,
      config,
      affinities,
      own,
      pools,
      reserved: ipReservations.flatMap(({ cidrs }) => cidrs),
      now: this.#now(),
      random: this.#random,
    };
    const picks: FreeAddress[] = [];
    for (const family of missing) {
      const pick = await this.#pick(context, request, family);
      if (pick === CONFLICT) return CONFLICT;
      picks.push(pick);
    }
    const taken = picks.map(({ block, ordinal }) => ({
      ip: nthIp(block.value.cidr, ordinal),
      block: block.value,
    }));
    const all = [...held, ...taken];
    if (picks.length > 0 && !(await this.#write(request, handle, all, picks, context.now))) return CONFLICT;
    return all
      .filter(({ ip }) => request.families.includes(familyOf(ip)))
      .map((holding) => this.#assigned(holding));
  }

  #pick(
    context: PickContext,
    { requested = [], pools, namespaceLabels }: AssignRequest,
    family: Family,
  ): Promise<FreeAddress | typeof CONFLICT> {
    const ip = requested.find((each) => familyOf(each) === family);
    if (ip !== undefined) return pickRequested(context, ip);
    const usable = usablePools(context.pools, {
      family,
      nodeLabels: this.#options.nodeLabels(),
      ...(namespaceLabels && { namespaceLabels }),
      ...(pools && { pools }),
    });
    return pickAny(context, family, usable);
  }

  /** All families or none. */
  #write(
    { handle: id, attributes }: AssignRequest,
    handle: Stored<Handle>,
    all: readonly Holding[],
    picks: readonly FreeAddress[],
    now: number,
  ): Promise<boolean> {
    const owner: Owner = { handle: id, node: this.#options.node, ...attributes };
    const addresses = all.map(({ ip, block }) => ({ ip, block: block.cidr }));
    const changes: Operation[] = picks.map(({ block, ordinal }) => ({
      op: 'put',
      key: block.key,
      value: encodeBlock(take(block.value, ordinal, owner, now)),
    }));
    return this.#records.commit(
      [unchanged(handle), ...picks.map(({ block }) => unchanged(block))],
      [{ op: 'put', key: handle.key, value: encodeHandle({ addresses }) }, ...changes],
    );
  }

  /** What the handle names and the blocks confirm. */
  async #verified(id: string, { addresses }: Handle): Promise<Holding[]> {
    if (addresses.length === 0) return [];
    const blocks = await this.#records.blocks([...new Set(addresses.map(({ block }) => block))]);
    return addresses.flatMap(({ ip, block: cidr }) => {
      const block = blocks.find(({ value }) => value.cidr === cidr)?.value;
      const allocation = block?.allocations.get(ordinalOf(cidr, ip) ?? -1);
      return block && allocation?.handle === id ? [{ ip, block }] : [];
    });
  }

  #assigned({ ip, block }: Holding): Assigned {
    const pool = poolName(this.#options.resources().ipPools, block.cidr);
    return { ip, block: block.cidr, pool, borrowed: block.node !== this.#options.node };
  }

  /** Seconds since 1970. */
  #now(): number {
    return (this.#options.clock ?? Date.now)() / 1000;
  }
}

type Holding = { readonly ip: Ip; readonly block: Block };

function checkRequest({ families, requested = [] }: AssignRequest): void {
  for (const ip of requested) {
    const others = requested.filter((other) => familyOf(other) === familyOf(ip));
    const text = !families.includes(familyOf(ip))
      ? 'is of a family that was not asked for'
      : others.length > 1
        ? `one address a family can be asked for, not ${others.join(' and ')}`
        : undefined;
    if (text === undefined) continue;
    throw new FlatnetError(text, { code: 'CONFIG_INVALID', operation: 'address assign', object: ip });
  }
}
