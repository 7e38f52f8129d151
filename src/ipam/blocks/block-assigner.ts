import { Queue } from '../../async/queue.ts';
import type { IpPool, IpReservation } from '../../cluster/resources.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Allocation, BlockStore, Handle, Owner, Stored } from '../../store/ports/blocks.ts';
import type { Assigned, Assigner, AssignRequest } from '../assigner.ts';
import { isHeldBy, take } from './block.ts';
import { freeAddresses, type What } from './free.ts';
import type { Leak } from './leak.ts';
import { type Holding, heldOf, type Known, OwnBlocks } from './own-blocks.ts';
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
 * Addresses out of blocks that this node claims in the store. An address is the handle's once its block says so, which is
 * one write. In this node's own blocks, whatever a handle has is found by looking; what it borrows of other nodes' blocks
 * it names first, in the store: so it is found as well, and a crash between leaves it naming too much, which its release
 * sets right. When an answer was lost (STORE_UNAVAILABLE), the handle may hold addresses: ask again for the same ones, or
 * release it.
 */
export class BlockAssigner implements Assigner {
  readonly #options: BlockAssignerOptions;
  readonly #store: BlockStore;
  readonly #own: OwnBlocks;
  readonly #random: () => number;
  /** Pods of one node that start together would only race for the same block. */
  readonly #turns = new Queue();
  /** By handle: the blocks that an allocation may still be on its way to, as there was no answer. */
  readonly #unanswered = new Map<string, Cidr[]>();

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
    return this.#turns.run(() => this.#release(handle), signal);
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
    const [[stored], known] = await Promise.all([this.#store.handles([handle]), this.#own.read()]);
    const holdings = await this.#heldBy(handle, stored?.value, known);
    return holdings.map((holding) => this.#assigned(holding));
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
      const known = this.#own.recent();
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
    if (!wroteHandle && taken.size === 0) return;
    await this.#holding(handle)
      .then((blocks) => this.#free({ handle, blocks, which: (ip) => taken.has(ip) }))
      .catch(() => {});
  }

  async #release(handle: string): Promise<readonly Ip[]> {
    const wasKnown = this.#own.recent() !== undefined;
    const freed = await this.#free({ handle, blocks: await this.#holding(handle) });
    if (freed.length > 0 || !wasKnown) return freed;
    // Nothing by what was known: another process of this node may have taken it.
    this.#own.forget();
    const blocks = await this.#holding(handle);
    return blocks.length > 0 ? this.#free({ handle, blocks }) : freed;
  }

  /** This node's blocks that have addresses of the handle. */
  async #holding(handle: string): Promise<Cidr[]> {
    const known = this.#own.recent() ?? (await this.#own.read());
    return [...new Set(heldOf(known, handle).map(({ block }) => block.cidr))];
  }

  /**
   * A new handle gets addresses of own blocks as they were last seen: one write a family, and meanwhile one reading, whether
   * the handle is new. Undefined when there is none; then nothing was written.
   */
  async #assignKnown(
    request: AssignRequest,
    known: Known,
    progress: Progress,
  ): Promise<readonly Assigned[] | typeof CONFLICT | undefined> {
    if (request.requested?.length || heldOf(known, request.handle).length > 0) return undefined;
    const context = this.#context(request, known);
    const picks: FreeAddress[] = [];
    for (const family of request.families) {
      const pick = pickOwn(context, this.#usable(request, family), false);
      if (!pick) return undefined;
      picks.push(pick);
    }
    const handles = this.#store.handles([request.handle]);
    const [taking, reading] = await Promise.allSettled([
      this.#take(request, picks, context.now, progress),
      handles,
    ]);
    for (const settled of [taking, reading]) if (settled.status === 'rejected') throw settled.reason;
    if ((await handles)[0] !== undefined) {
      // It has addresses already, of other nodes' blocks: it keeps those.
      const { taken } = progress;
      const blocks = await this.#holding(request.handle);
      await this.#free({ handle: request.handle, blocks, which: (ip) => taken.has(ip) });
      taken.clear();
      this.#own.forget();
      return CONFLICT;
    }
    return taking.status === 'fulfilled' && taking.value
      ? picks.map((pick) => this.#assigned(holdingOf(pick)))
      : CONFLICT;
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
   * Makes the handle name what it has and is about to get of other nodes' blocks. What it names besides, from an attempt
   * whose answer was lost, it goes on naming.
   */
  async #name(
    id: string,
    handle: Stored<Handle> | undefined,
    holdings: readonly Holding[],
    progress: Progress,
  ): Promise<boolean> {
    const named = (handle?.value.addresses ?? []).filter(({ ip }) => !progress.refused.has(ip));
    const { node } = this.#options;
    const added = holdings.filter(
      ({ ip, block }) => block.node !== node && !named.some((each) => each.ip === ip),
    );
    if (added.length === 0) return true;
    const addresses = [...named, ...added.map(({ ip, block }) => ({ ip, block: block.cidr }))];
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
        const written = await this.#store.replaceBlock(pick.block, next).catch((error: unknown) => {
          this.#unanswered.set(handle, [...(this.#unanswered.get(handle) ?? []), next.cidr]);
          this.#own.forget();
          throw error;
        });
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

  async #free(what: What): Promise<readonly Ip[]> {
    const unanswered = this.#unanswered.get(what.handle) ?? [];
    const freed = await freeAddresses(
      this.#store,
      { ...what, unanswered },
      {
        now: this.#now(),
        read: async (cidrs) => this.#own.recentBlocks(cidrs) ?? this.#store.blocks(cidrs),
        changed: (block) => this.#own.update(block),
        random: this.#random,
      },
    );
    this.#unanswered.delete(what.handle);
    return freed;
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

  /** What the handle has of this node's blocks, and what it names of others and these confirm; IPv4 first. */
  async #heldBy(id: string, handle: Handle | undefined, known: Known): Promise<Holding[]> {
    const own = heldOf(known, id);
    const named = (await this.#verified(id, handle)).filter(({ ip }) => !own.some((each) => each.ip === ip));
    return [...own, ...named].sort((a, b) => familyOf(a.ip) - familyOf(b.ip));
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
