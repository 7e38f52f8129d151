import { codeOf, FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { nthIp } from '../../ip/cidr.ts';
import type { Handle, Owner, Stored } from '../../store/ports/blocks.ts';
import type { AssignRequest } from '../assigner.ts';
import { take } from './block.ts';
import type { NodeBlocks } from './node-blocks.ts';
import { type Holding, heldOf, type Known } from './own-blocks.ts';
import { type FreeAddress, type PickContext, pickAny, pickOwn } from './pick.ts';
import { usablePools } from './pools.ts';
import { pickRequested } from './requested.ts';
import { CONFLICT, retrying } from './retry.ts';

type Attempt = readonly Holding[] | typeof CONFLICT;

/** One address request across all its attempts: assigns all families or none. */
export class Assignment {
  readonly #node: NodeBlocks;
  readonly #request: AssignRequest;
  /** Written into their blocks. */
  readonly #taken = new Set<Ip>();
  /** Listed by the handle but known not to be written into their blocks. */
  readonly #refused = new Set<Ip>();
  #wroteHandle = false;

  /** Throws CONFIG_INVALID for a request that contradicts itself. */
  constructor(node: NodeBlocks, request: AssignRequest) {
    checkRequest(request);
    this.#node = node;
    this.#request = request;
  }

  /** Throws as `Assigner.assign` does. */
  async run(signal?: AbortSignal): Promise<readonly Holding[]> {
    try {
      return await retrying('address assign', this.#node.random, () => this.#attempt(), signal);
    } catch (error) {
      if (codeOf(error) !== 'STORE_UNAVAILABLE') await this.#undo();
      throw error;
    }
  }

  async #attempt(): Promise<Attempt> {
    // A write that got no reply is fenced first, which takes a look at the store.
    const isCertain = !this.#node.hasUnanswered(this.#request.handle);
    const known = isCertain ? this.#node.own.recent() : undefined;
    return (known && (await this.#fromCache(known))) || this.#fromStore();
  }

  /**
   * Assigns a new handle addresses from the node's own cached blocks: one write per family, concurrent with
   * one read to check that the handle is new. Undefined if that is impossible; nothing has been written then.
   */
  async #fromCache(known: Known): Promise<Attempt | undefined> {
    const { handle, requested, families } = this.#request;
    if (requested?.length || heldOf(known, handle).length > 0) return undefined;
    const context = this.#context(known);
    const picks: FreeAddress[] = [];
    for (const family of families) {
      const pick = pickOwn(context, this.#usable(context, family), false);
      if (!pick) return undefined;
      picks.push(pick);
    }
    // Neither may still be in progress when this turn in the queue ends.
    const [taking, reading] = await Promise.allSettled([
      this.#take(picks, context.now),
      this.#node.store.handles([handle]),
    ]);
    if (taking.status === 'rejected') throw taking.reason;
    if (reading.status === 'rejected') throw reading.reason;
    if (reading.value[0] === undefined) return taking.value ? picks.map(holdingOf) : CONFLICT;
    // The handle already has addresses in other nodes' blocks and keeps those.
    await this.#giveBack();
    this.#node.own.forget();
    return CONFLICT;
  }

  async #fromStore(): Promise<Attempt> {
    const { families } = this.#request;
    await this.#node.fenceUnanswered(this.#request.handle);
    const { handle, known, held: found } = await this.#node.inspect(this.#request.handle);
    const held = onePerFamily(found, handle?.value);
    const surplus = found.filter((each) => !held.includes(each)).map(({ ip }) => ip);
    if (surplus.length > 0) {
      const freed = await this.#node.release(this.#request.handle, (ip) => surplus.includes(ip));
      // Both the handle and the cached blocks have changed. Those of another node stay, and are ignored.
      if (freed.length > 0) return CONFLICT;
    }
    const missing = families.filter((family) => !held.some(({ ip }) => familyOf(ip) === family));
    const context = this.#context(known);
    const picks: FreeAddress[] = [];
    for (const family of missing) {
      const pick = await this.#pick(context, family);
      if (pick === CONFLICT) return CONFLICT;
      picks.push(pick);
    }
    const all = [...held, ...picks.map(holdingOf)];
    if (!(await this.#listInHandle(handle, all))) return CONFLICT;
    if (!(await this.#take(picks, context.now))) return CONFLICT;
    return all.filter(({ ip }) => families.includes(familyOf(ip)));
  }

  /**
   * Lists in the handle the addresses it has, or is about to get, in other nodes' blocks. Keeps other
   * entries, left by an attempt whose reply was lost.
   */
  async #listInHandle(handle: Stored<Handle> | undefined, holdings: readonly Holding[]): Promise<boolean> {
    const { store, name: node } = this.#node;
    const named = (handle?.value.addresses ?? []).filter(({ ip }) => !this.#refused.has(ip));
    const added = holdings.filter(
      ({ ip, block }) => block.node !== node && !named.some((each) => each.ip === ip),
    );
    if (added.length === 0) return true;
    const addresses = [...named, ...added.map(({ ip, block }) => ({ ip, block: block.cidr }))];
    const written = await store.writeHandle(this.#request.handle, handle, { node, addresses });
    this.#wroteHandle ||= written !== undefined;
    return written !== undefined;
  }

  /** Writes the addresses into their blocks; false when one of the blocks has changed. */
  async #take(picks: readonly FreeAddress[], now: number): Promise<boolean> {
    const { handle, attributes } = this.#request;
    const owner: Owner = { handle, node: this.#node.name, ...attributes };
    let isCurrent = true;
    for (const pick of picks) {
      if (pick.isHeld) continue;
      const { ip } = holdingOf(pick);
      isCurrent &&= await this.#node.write(
        handle,
        pick.block,
        take(pick.block.value, pick.ordinal, owner, now),
      );
      if (isCurrent) {
        this.#taken.add(ip);
        this.#refused.delete(ip);
      } else this.#refused.add(ip);
    }
    return isCurrent;
  }

  /** Best effort: garbage collection frees whatever cannot be released now. */
  async #undo(): Promise<void> {
    if (this.#wroteHandle || this.#taken.size > 0) await this.#giveBack().catch(() => {});
  }

  async #giveBack(): Promise<void> {
    await this.#node.release(this.#request.handle, (ip) => this.#taken.has(ip));
    this.#taken.clear();
  }

  #context({ config, affinities, blocks }: Known): PickContext {
    const { store, name, pools, reserved, now, random } = this.#node;
    const { handle } = this.#request;
    return { store, config, node: name, handle, affinities, blocks, pools, reserved, now, random };
  }

  #pick(context: PickContext, family: Family): Promise<FreeAddress | typeof CONFLICT> {
    const ip = this.#request.requested?.find((each) => familyOf(each) === family);
    if (ip !== undefined) return pickRequested(context, ip);
    return pickAny(context, family, this.#usable(context, family));
  }

  #usable(context: PickContext, family: Family): PickContext['pools'] {
    const { pools, namespaceLabels } = this.#request;
    return usablePools(context.pools, {
      family,
      nodeLabels: this.#node.labels,
      ...(namespaceLabels && { namespaceLabels }),
      ...(pools && { pools }),
    });
  }
}

/**
 * Chooses among a handle's addresses. `#fromCache` takes a second one while it learns that the handle has a
 * borrowed one; if the reply to that write was lost, it stays, but was never handed out. The listed one was.
 */
function onePerFamily(found: readonly Holding[], handle: Handle | undefined): readonly Holding[] {
  const isListed = ({ ip }: Holding): boolean => handle?.addresses.some((each) => each.ip === ip) ?? false;
  const preferred = [...found.filter(isListed), ...found.filter((each) => !isListed(each))];
  const chosen = new Map(preferred.toReversed().map((each) => [familyOf(each.ip), each]));
  return found.filter((each) => chosen.get(familyOf(each.ip)) === each);
}

function holdingOf({ block: { value: block }, ordinal }: FreeAddress): Holding {
  return { ip: nthIp(block.cidr, ordinal), block };
}

function checkRequest({ families, requested = [] }: AssignRequest): void {
  for (const ip of requested) {
    const others = requested.filter((other) => familyOf(other) === familyOf(ip));
    const text = !families.includes(familyOf(ip))
      ? 'is of a family that was not requested'
      : others.length > 1
        ? `only one address per family can be requested, not ${others.join(' and ')}`
        : undefined;
    if (text === undefined) continue;
    throw new FlatnetError(text, { code: 'CONFIG_INVALID', operation: 'address assign', object: ip });
  }
}
