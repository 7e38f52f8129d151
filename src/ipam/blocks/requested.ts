import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { cidrOf, contains } from '../../ip/cidr.ts';
import type { Block, Stored } from '../../store/ports/blocks.ts';
import { isHeldBy, ordinalOf } from './block.ts';
import { claimBlock } from './claim.ts';
import type { FreeAddress, PickContext } from './pick.ts';
import { poolOf } from './pools.ts';
import { CONFLICT } from './retry.ts';

/**
 * Picks the requested address from whichever block contains it, claiming the block if no node has it. Throws
 * ADDRESS_TAKEN, CONFIG_INVALID, OUT_OF_ADDRESSES.
 */
export async function pickRequested(context: PickContext, ip: Ip): Promise<FreeAddress | typeof CONFLICT> {
  const { config, node, handle, pools } = context;
  const pool = poolOf(pools, ip);
  if (!pool) throw refused(ip, 'CONFIG_INVALID', 'is in no enabled pool', 'see flatnet get ippools');
  const block = await blockFor(context, ip, pool.blockSize);
  if (block === CONFLICT) return CONFLICT;
  const { cidr, allocations, node: owner } = block.value;
  const ordinal = ordinalOf(cidr, ip) ?? -1;
  if (isHeldBy(block.value, ip, handle)) return { block, ordinal, isHeld: true };
  const other = allocations.get(ordinal);
  if (other) {
    const who = other.pod === undefined ? other.handle : `${other.namespace ?? 'default'}/${other.pod}`;
    throw refused(ip, 'ADDRESS_TAKEN', `is in use by ${who} on ${other.node}`);
  }
  if (config.strictAffinity && owner !== node) {
    throw refused(
      ip,
      'ADDRESS_TAKEN',
      `is in a block of ${owner}, and strictAffinity keeps this node from borrowing it`,
    );
  }
  return { block, ordinal };
}

/** Finds or creates the block that contains the address. A block of this node's is confirmed before use. */
async function blockFor(
  { store, node, config, affinities, now }: PickContext,
  ip: Ip,
  blockSize: number,
): Promise<Stored<Block> | typeof CONFLICT> {
  const cidr = cidrOf(ip, blockSize);
  let [block] = await store.blocks([cidr]);
  if (!block) {
    // There may be a block of another size, from before the pool was recreated.
    const others = (await store.affinities()).filter(({ value }) => value.cidr !== cidr);
    const around = others.filter(({ value }) => contains(value.cidr, ip));
    [block] = await store.blocks(around.map(({ value }) => value.cidr));
    const inside = others.find(({ value }) => value.state === 'confirmed' && contains(cidr, value.cidr));
    if (!block && inside) {
      const { node: owner, cidr: smaller } = inside.value;
      const text = `needs block ${cidr}, which contains ${owner}'s block ${smaller} of a former pool`;
      throw refused(ip, 'OUT_OF_ADDRESSES', text);
    }
  }
  if (!block && !config.autoAllocateBlocks) {
    throw refused(
      ip,
      'OUT_OF_ADDRESSES',
      `needs block ${cidr}, but autoAllocateBlocks is off, so no node may claim it`,
    );
  }
  const isReady = ({ value }: Stored<Block>): boolean =>
    value.node !== node ||
    affinities.some((each) => each.value.cidr === value.cidr && each.value.state === 'confirmed');
  if (block && isReady(block)) return block;
  return (await claimBlock(store, node, block?.value.cidr ?? cidr, now)) ?? CONFLICT;
}

function refused(
  ip: Ip,
  code: 'ADDRESS_TAKEN' | 'CONFIG_INVALID' | 'OUT_OF_ADDRESSES',
  text: string,
  fix?: string,
): FlatnetError {
  return new FlatnetError(text, { code, operation: 'address assign', object: ip, ...(fix && { fix }) });
}
