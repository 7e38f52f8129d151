import { isDeepStrictEqual } from 'node:util';
import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Allocation, Block, BlockStore, Handle, Stored } from '../../store/ports/blocks.ts';
import { fence, isHeldBy, release } from './block.ts';
import { CONFLICT, retrying } from './retry.ts';

export type FreeRequest = {
  readonly handle: string;
  /** Blocks to search in addition to those the handle lists. */
  readonly blocks?: readonly Cidr[];
  /** Blocks to which a write for the handle may still be in flight. */
  readonly unanswered?: readonly Cidr[];
  /** Selects among the handle's addresses; all by default. */
  readonly filter?: (ip: Ip, allocation: Allocation) => boolean;
};

export type FreeOptions = {
  /** Seconds since 1970. */
  readonly now: number;
  /** Used instead of the store's `blocks`; may return stale blocks. */
  readonly read?: (cidrs: readonly Cidr[]) => Promise<readonly Stored<Block>[]>;
  /** Called with each new version of a block, or with undefined when a block was stale. */
  readonly changed?: (block: Stored<Block> | undefined) => void;
  readonly random?: () => number;
};

/**
 * Frees and returns addresses of a handle. Updates the blocks first, then the handle: a crash in between
 * leaves a handle that lists too much, which the next call cleans up.
 */
export async function freeAddresses(
  store: BlockStore,
  request: FreeRequest,
  options: FreeOptions,
): Promise<readonly Ip[]> {
  const freed = new Set<Ip>();
  await retrying('address release', options.random ?? Math.random, () =>
    freeOnce(store, request, options, freed),
  );
  return [...freed];
}

/** Adds the freed addresses to `freed`, even when ending in a conflict. */
async function freeOnce(
  store: BlockStore,
  { handle: id, blocks = [], unanswered = [], filter = () => true }: FreeRequest,
  { now, read = (cidrs) => store.blocks(cidrs), changed = () => {} }: FreeOptions,
  freed: Set<Ip>,
): Promise<'done' | typeof CONFLICT> {
  const [handle] = await store.handles([id]);
  const named = handle?.value.addresses ?? [];
  const kept: Handle['addresses'][number][] = [];
  const cidrs = new Set([...named.map((each) => each.block), ...blocks, ...unanswered]);
  for (const block of await read([...cidrs])) {
    const { cidr } = block.value;
    const ordinals: number[] = [];
    for (const [ordinal, allocation] of block.value.allocations) {
      if (allocation.handle !== id) continue;
      const ip = nthIp(cidr, ordinal);
      if (filter(ip, allocation)) ordinals.push(ordinal);
      else kept.push({ ip, block: cidr });
    }
    // Listed by the handle but not allocated to it: a write whose reply was lost may still be in flight. The
    // fence makes it fail.
    const mayBeInFlight =
      unanswered.includes(cidr) ||
      named.some(({ ip, block: at }) => at === cidr && !freed.has(ip) && !isHeldBy(block.value, ip, id));
    if (ordinals.length === 0 && !mayBeInFlight) continue;
    const next = ordinals.length > 0 ? release(block.value, ordinals, now) : fence(block.value);
    const written = await store.replaceBlock(block, next);
    changed(written);
    if (!written) return CONFLICT;
    for (const ordinal of ordinals) freed.add(nthIp(cidr, ordinal));
  }
  return (await shrink(store, id, handle, kept)) ? 'done' : CONFLICT;
}

/** Reduces the handle to the kept addresses, deleting it when there are none. */
async function shrink(
  store: BlockStore,
  id: string,
  handle: Stored<Handle> | undefined,
  kept: Handle['addresses'],
): Promise<boolean> {
  if (handle === undefined) return true;
  if (kept.length === 0) return store.deleteHandle(id, handle);
  if (isDeepStrictEqual(handle.value.addresses, kept)) return true;
  return (await store.writeHandle(id, handle, { ...handle.value, addresses: kept })) !== undefined;
}
