import { isDeepStrictEqual } from 'node:util';
import type { Ip } from '../../ip/address.ts';
import { type Cidr, nthIp } from '../../ip/cidr.ts';
import type { Allocation, Block, BlockStore, Handle, Stored } from '../../store/ports/blocks.ts';
import { fence, give, isHeldBy } from './block.ts';
import { CONFLICT, retrying } from './retry.ts';

export type What = {
  readonly handle: string;
  /** Blocks to look into besides those that the handle names. */
  readonly blocks?: readonly Cidr[];
  /** Blocks that an allocation for the handle may still be on its way to. */
  readonly unanswered?: readonly Cidr[];
  /** Which of the handle's addresses; all by default. */
  readonly which?: (ip: Ip, allocation: Allocation) => boolean;
};

export type FreeOptions = {
  /** Seconds since 1970. */
  readonly now: number;
  /** Instead of the store's `blocks`; what it returns may be out of date. */
  readonly read?: (cidrs: readonly Cidr[]) => Promise<readonly Stored<Block>[]>;
  /** Is told each new version of a block, and undefined when one was out of date. */
  readonly changed?: (block: Stored<Block> | undefined) => void;
  readonly random?: () => number;
};

/**
 * Frees addresses of a handle and returns them. First in the blocks, then the handle: a crash between leaves
 * a handle that names too much, and the next call takes it away.
 */
export async function freeAddresses(
  store: BlockStore,
  what: What,
  options: FreeOptions,
): Promise<readonly Ip[]> {
  const freed = new Set<Ip>();
  await retrying('address release', options.random ?? Math.random, () =>
    freeOnce(store, what, options, freed),
  );
  return [...freed];
}

/** Adds to `freed` what it frees, also when it ends in a conflict. */
async function freeOnce(
  store: BlockStore,
  { handle: id, blocks = [], unanswered = [], which = () => true }: What,
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
      if (which(ip, allocation)) ordinals.push(ordinal);
      else kept.push({ ip, block: cidr });
    }
    // Named, and not the handle's: an allocation whose answer was lost may still be on its way, and must come
    // too late.
    const isAwaited =
      unanswered.includes(cidr) ||
      named.some(({ ip, block: at }) => at === cidr && !freed.has(ip) && !isHeldBy(block.value, ip, id));
    if (ordinals.length === 0 && !isAwaited) continue;
    const next = ordinals.length > 0 ? give(block.value, ordinals, now) : fence(block.value);
    const written = await store.replaceBlock(block, next);
    changed(written);
    if (!written) return CONFLICT;
    for (const ordinal of ordinals) freed.add(nthIp(cidr, ordinal));
  }
  return (await shrink(store, id, handle, kept)) ? 'done' : CONFLICT;
}

/** The handle names what is kept, and is gone when that is nothing or it did not exist. */
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
