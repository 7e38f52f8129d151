import { pause } from '../../async/pause.ts';
import { nthIp } from '../../ip/cidr.ts';
import type { Block, BlockStore, Handle, Snapshot } from '../../store/ports/blocks.ts';
import { isHeldBy } from './block.ts';
import { settle } from './claim.ts';
import { freeAddresses } from './free.ts';

/** Milliseconds within which a live node finishes an operation. */
const PATIENCE = 3_000;

/** A handle whose list differs from its allocations: some are missing, or some entries are stale. */
type HandleMismatch = {
  readonly id: string;
  readonly missing: Handle['addresses'];
  readonly hasStale: boolean;
};

/**
 * Finishes operations that crashes interrupted, on behalf of their nodes, and rebuilds the index of handles.
 * Touches only objects that remain unchanged for `patience` milliseconds, and works by compare-and-swap, so
 * nodes at work are not disturbed. Returns human-readable descriptions of the repairs.
 */
export async function repairIpam(store: BlockStore, patience = PATIENCE): Promise<readonly string[]> {
  const first = await store.snapshot();
  await pause(patience);
  const second = await store.snapshot();
  const done: string[] = [];
  for (const { value } of second.blocks) {
    const { cidr, node } = value;
    const isCovered = second.affinities.some((each) => each.value.cidr === cidr && each.value.node === node);
    if (isCovered) continue;
    await settle(store, await store.announce(node, cidr));
    done.push(`restored ${node}'s claim to block ${cidr}`);
  }
  for (const affinity of second.affinities) {
    const { node, cidr, state } = affinity.value;
    const isUnchanged = first.affinities.some(
      ({ version, value }) => version === affinity.version && value.cidr === cidr && value.node === node,
    );
    const owner = second.blocks.find(({ value }) => value.cidr === cidr)?.value.node;
    if (!isUnchanged || (state === 'confirmed' && owner === node)) continue;
    await settle(store, affinity);
    done.push(`${owner === node ? 'confirmed' : 'withdrew'} ${node}'s claim to block ${cidr}`);
  }
  const before = new Set(handleMismatches(first).map((each) => JSON.stringify(each)));
  for (const mismatch of handleMismatches(second)) {
    if (!before.has(JSON.stringify(mismatch))) continue;
    const { id, missing, hasStale } = mismatch;
    const handle = second.handles.get(id);
    const addresses = [...(handle?.value.addresses ?? []), ...missing];
    if (missing.length > 0) await store.writeHandle(id, handle, { ...handle?.value, addresses });
    if (hasStale) await freeAddresses(store, { handle: id, filter: () => false }, { now: Date.now() / 1000 });
    done.push(`corrected handle ${id}`);
  }
  return done;
}

/** The handles that blocks call for, by ID: those of addresses that other nodes use. */
export function handlesOf(blocks: readonly Block[]): ReadonlyMap<string, Handle> {
  const held = new Map<string, Handle>();
  for (const block of blocks) {
    for (const [ordinal, { handle, node }] of block.allocations) {
      if (node === block.node) continue;
      const address = { ip: nthIp(block.cidr, ordinal), block: block.cidr };
      held.set(handle, { node, addresses: [...(held.get(handle)?.addresses ?? []), address] });
    }
  }
  return held;
}

function handleMismatches({ blocks, handles }: Snapshot): HandleMismatch[] {
  const held = handlesOf(blocks.map(({ value }) => value));
  const byCidr = new Map(blocks.map(({ value }) => [value.cidr, value]));
  return [...new Set([...handles.keys(), ...held.keys()])].flatMap((id) => {
    const named = handles.get(id)?.value.addresses;
    const missing = (held.get(id)?.addresses ?? []).filter(
      ({ ip }) => !named?.some((each) => each.ip === ip),
    );
    const hasStale =
      named?.length === 0 ||
      named?.some(({ ip, block: cidr }) => {
        const block = byCidr.get(cidr);
        return !block || !isHeldBy(block, ip, id);
      }) === true;
    return missing.length > 0 || hasStale ? [{ id, missing, hasStale }] : [];
  });
}
