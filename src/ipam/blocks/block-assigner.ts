import { Queue } from '../../async/queue.ts';
import type { IpPool, IpReservation } from '../../cluster/resources.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Allocation, Block, BlockStore, Handle, Owner, Stored } from '../../store/ports/blocks.ts';
import type { Assigned, Assigner, AssignRequest } from '../assigner.ts';
import { isHeldBy, take } from './block.ts';
import { freeAddresses, type What } from './free.ts';
import type { Leak } from './leak.ts';
import { type Known, OwnBlocks } from './own-blocks.ts';
import { type FreeAddress, type PickContext, pickAny, pickOwn } from './pick.ts';
import { poolName, usablePools } from './pools.ts';
import { pickRequested } from './requested.ts';
import { CONFLICT, retrying } from './retry.ts';

export type BlockAssignerOptions = {
  readonly store: BlockStore;
  readonly node: string;
  /** As they are now, like the next. */
  readonly nodeLabels: () => Readonly<Record<string, string>>;
  readonly resources: () => {
    readonly ipPools: readonly IpPool[];
    readonly ipReservations: readonly IpReservation[];
  };
  /** Milliseconds since 1970; Date.now by default. */
  readonly clock?: () => number;
  readonly random?: () => number;
};

/** What one `assign` has done so far, over all its attempts. */
type Progress = {
  wroteHandle: boolean;
  /** Written into their blocks. */
  readonly taken: Set<Ip>;
  /** Named by the handle, and certainly not written into their blocks. */
  readonly refused: Set<Ip>;
};

/**
 * Addresses out of blocks that this node claims in the store. The handle is written before the blocks: it names all that its
 * owner may have, and a crash between leaves it naming too much, which its release sets right. An address is the handle's
 * once its block says so. When an answer was lost (STORE_UNAVAILABLE), the handle may hold addresses: ask again for the
 * same ones, or release it.
 */
export class BlockAssigner implements Assigner {
  readonly #options: BlockAssignerOptions;
  readonly #store: BlockStore;
  readonly #own: OwnBlocks;
  readonly #random: () => number;
  /** Pods of one node that start together would only race for the same block. */
  readonly #turns = new Queue();

  constructor(options: BlockAssignerOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#own = new OwnBlocks(options.store, options.node);
    this.#random = options.random ?? Math.random;
  }

  assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]> {
    return this.#turns.run(() => this.#assign(request, signal), signal);
  }

  release(handle: string, signal?: AbortSignal): Promise<readonly Ip[]> {
    return this.#turns.run(() => this.#free({ handle }), signal);
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
    return this.#turns.run(async () => ((await isLive(handle)) ? [] : this.#free({ handle, blocks, which })));
  }

  async held(handle: string): Promise<readonly Assigned[]> {
    const [stored] = await this.#store.handles([handle]);
    return (await this.#verified(handle, stored?.value)).map((holding) => this.#assigned(holding));
  }

  /** The blocks whose addresses this node answers for. */
  async ownBlocks(): Promise<readonly Cidr[]> {
    return (await this.#own.read()).blocks.map(({ value }) => value.cidr);
  }

  /** Runs `work` while nothing is assigned or released. */
  exclusively<T>(work: (own: OwnBlocks) => Promise<T>): Promise<T> {
    return this.#turns.run(() => work(this.#own));
  }

  async #assign(request: AssignRequest, signal?: AbortSignal): Promise<readonly Assigned[]> {
    checkRequest(request);
    const progress: Progress = { wroteHandle: false, taken: new Set(), refused: new Set() };
    const attempt = async (): Promise<readonly Assigned[] | typeof CONFLICT> => {
      const known = progress.wroteHandle ? undefined : this.#own.recent();
      const quick = known && (await this.#assignKnown(request, known, progress));
      return quick || this.#assignFresh(request, progress);
    };
    try {
      return await retrying('address assign', this.#random, attempt, signal);
    } catch (error) {
      if (codeOf(error) !== 'STORE_UNAVAILABLE') await this.#undo(request.handle, progress);
      throw error;
    }
  }

  /** Both families or none. What cannot be undone now goes with the garbage. */
  async #undo(handle: string, { wroteHandle, taken }: Progress): Promise<void> {
    if (wroteHandle) await this.#free({ handle, which: (ip) => taken.has(ip) }).catch(() => {});
  }

  /**
   * A new handle gets addresses of blocks as they were last seen: two writes and no reading. Undefined when there is
   * none, or the handle is not new; then nothing was written.
   */
  async #assignKnown(
    request: AssignRequest,
    known: Known,
    progress: Progress,
  ): Promise<readonly Assigned[] | typeof CONFLICT | undefined> {
    if (request.requested?.length) return undefined;
    const context = this.#context(request, known);
    const picks: FreeAddress[] = [];
    for (const family of request.families) {
      const pick = pickOwn(context, this.#usable(request, family), false);
      if (!pick) return undefined;
      picks.push(pick);
    }
    const names = picks.map(nameOf);
    const { node } = this.#options;
    const handle = await this.#store.writeHandle(request.handle, undefined, { node, addresses: names });
    if (!handle) return undefined;
    progress.wroteHandle = true;
    if (!(await this.#take(request, picks, context.now, progress))) return CONFLICT;
    return picks.map((pick) => this.#assigned(holdingOf(pick)));
  }

  async #assignFresh(
    request: AssignRequest,
    progress: Progress,
  ): Promise<readonly Assigned[] | typeof CONFLICT> {
    const [[handle], known] = await Promise.all([this.#store.handles([request.handle]), this.#own.read()]);
    const held = await this.#heldBy(request.handle, handle?.value, known);
    const missing = request.families.filter((family) => !held.some(({ ip }) => familyOf(ip) === family));
    const context = this.#context(request, known);
    const picks: FreeAddress[] = [];
    for (const family of missing) {
      const pick = await this.#pick(context, request, family);
      if (pick === CONFLICT) return CONFLICT;
      picks.push(pick);
    }
    const all = [...held, ...picks.map(holdingOf)];
    if (!(await this.#name(request.handle, handle, all, progress))) return CONFLICT;
    if (!(await this.#take(request, picks, context.now, progress))) return CONFLICT;
    return all
      .filter(({ ip }) => request.families.includes(familyOf(ip)))
      .map((holding) => this.#assigned(holding));
  }

  /**
   * Makes the handle name what it has and what it is about to get. What it names besides, from an attempt whose answer was
   * lost, it goes on naming.
   */
  async #name(
    id: string,
    handle: Stored<Handle> | undefined,
    holdings: readonly Holding[],
    progress: Progress,
  ): Promise<boolean> {
    const named = (handle?.value.addresses ?? []).filter(({ ip }) => !progress.refused.has(ip));
    const added = holdings.filter(({ ip }) => !named.some((each) => each.ip === ip));
    if (added.length === 0) return true;
    const addresses = [...named, ...added.map(({ ip, block }) => ({ ip, block: block.cidr }))];
    const { node } = this.#options;
    if (!(await this.#store.writeHandle(id, handle, { node, addresses }))) return false;
    progress.wroteHandle = true;
    return true;
  }

  /** Writes the addresses into their blocks; false when one of these has changed. */
  async #take(
    { handle, attributes }: AssignRequest,
    picks: readonly FreeAddress[],
    now: number,
    { taken, refused }: Progress,
  ): Promise<boolean> {
    const { node } = this.#options;
    const owner: Owner = { handle, node, ...attributes };
    let isCurrent = true;
    for (const pick of picks) {
      if (pick.isHeld) continue;
      const { ip } = nameOf(pick);
      if (isCurrent) {
        const next = take(pick.block.value, pick.ordinal, owner, now);
        const written = await this.#store.replaceBlock(pick.block, next);
        this.#own.update(written);
        if (written?.value.node === node) this.#own.add(written);
        isCurrent = written !== undefined;
      }
      if (isCurrent) {
        taken.add(ip);
        refused.delete(ip);
      } else refused.add(ip);
    }
    return isCurrent;
  }

  #free(what: What): Promise<readonly Ip[]> {
    return freeAddresses(this.#store, what, {
      now: this.#now(),
      read: async (cidrs) => this.#own.recentBlocks(cidrs) ?? this.#store.blocks(cidrs),
      changed: (block) => this.#own.update(block),
      random: this.#random,
    });
  }

  #context({ handle }: AssignRequest, { config, affinities, blocks }: Known): PickContext {
    const { ipPools: pools, ipReservations } = this.#options.resources();
    return {
      store: this.#store,
      config,
      node: this.#options.node,
      handle,
      affinities,
      blocks,
      pools,
      reserved: ipReservations.flatMap(({ cidrs }) => cidrs),
      now: this.#now(),
      random: this.#random,
    };
  }

  #pick(
    context: PickContext,
    request: AssignRequest,
    family: Family,
  ): Promise<FreeAddress | typeof CONFLICT> {
    const ip = request.requested?.find((each) => familyOf(each) === family);
    if (ip !== undefined) return pickRequested(context, ip);
    return pickAny(context, family, this.#usable(request, family));
  }

  #usable({ pools, namespaceLabels }: AssignRequest, family: Family): readonly IpPool[] {
    return usablePools(this.#options.resources().ipPools, {
      family,
      nodeLabels: this.#options.nodeLabels(),
      ...(namespaceLabels && { namespaceLabels }),
      ...(pools && { pools }),
    });
  }

  /** What the handle names and the blocks confirm, and what it does not name of this node's blocks. */
  async #heldBy(id: string, handle: Handle | undefined, { blocks }: Known): Promise<Holding[]> {
    const named = await this.#verified(id, handle);
    const unnamed = blocks.flatMap(({ value: block }) =>
      [...block.allocations]
        .filter(([, allocation]) => allocation.handle === id)
        .map(([ordinal]) => ({ ip: nthIp(block.cidr, ordinal), block }))
        .filter(({ ip }) => !named.some((each) => each.ip === ip)),
    );
    return [...named, ...unnamed];
  }

  async #verified(id: string, handle: Handle | undefined): Promise<Holding[]> {
    if (!handle || handle.addresses.length === 0) return [];
    const cidrs = new Set(handle.addresses.map(({ block }) => block));
    const blocks = (await this.#store.blocks([...cidrs])).map(({ value }) => value);
    return handle.addresses.flatMap(({ ip, block: cidr }) => {
      const block = blocks.find((each) => each.cidr === cidr);
      return block && isHeldBy(block, ip, id) ? [{ ip, block }] : [];
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

function holdingOf({ block: { value: block }, ordinal }: FreeAddress): Holding {
  return { ip: nthIp(block.cidr, ordinal), block };
}

function nameOf(pick: FreeAddress): Handle['addresses'][number] {
  const { ip, block } = holdingOf(pick);
  return { ip, block: block.cidr };
}

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
