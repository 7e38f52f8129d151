import { pause } from '../../async/pause.ts';
import { nthIp } from '../../ip/cidr.ts';
import type { BlockStore, Handle, Snapshot } from '../../store/ports/blocks.ts';
import { isHeldBy } from './block.ts';
import { settle } from './claim.ts';
import { freeAddresses } from './free.ts';

/** Milliseconds in which a living node finishes what it has begun. */
const PATIENCE = 3_000;

/** A handle that names something else than it has. */
type Misnomer = { readonly id: string; readonly missing: Handle['addresses']; readonly hasTooMany: boolean };

/**
 * Finishes for their nodes what crashes cut short, and rebuilds the index of handles. Touches only what stays
 * as it is for `patience` milliseconds, and works by compare-and-swap: a node that goes on meanwhile is not
 * disturbed. Returns what it has done, for people.
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
    done.push(`block ${cidr} is claimed for ${node} again`);
  }
  for (const affinity of second.affinities) {
    const { node, cidr, state } = affinity.value;
    const isStill = first.affinities.some(
      ({ version, value }) => version === affinity.version && value.cidr === cidr && value.node === node,
    );
    const owner = second.blocks.find(({ value }) => value.cidr === cidr)?.value.node;
    if (!isStill || (state === 'confirmed' && owner === node)) continue;
    await settle(store, affinity);
    done.push(owner === node ? `block ${cidr} is ${node}'s` : `${node} no longer claims block ${cidr}`);
  }
  const before = new Set(misnomers(first).map((each) => JSON.stringify(each)));
  for (const misnomer of misnomers(second)) {
    if (!before.has(JSON.stringify(misnomer))) continue;
    const { id, missing, hasTooMany } = misnomer;
    const handle = second.handles.get(id);
    const addresses = [...(handle?.value.addresses ?? []), ...missing];
    if (missing.length > 0) await store.writeHandle(id, handle, { ...handle?.value, addresses });
    if (hasTooMany)
      await freeAddresses(store, { handle: id, which: () => false }, { now: Date.now() / 1000 });
    done.push(`handle ${id} names what it has`);
  }
  return done;
}

function misnomers({ blocks, handles }: Snapshot): Misnomer[] {
  const held = new Map<string, Handle['addresses'][number][]>();
  for (const { value: block } of blocks) {
    for (const [ordinal, { handle, node }] of block.allocations) {
      if (node === block.node) continue;
      const addresses = held.get(handle) ?? [];
      addresses.push({ ip: nthIp(block.cidr, ordinal), block: block.cidr });
      held.set(handle, addresses);
    }
  }
  const byCidr = new Map(blocks.map(({ value }) => [value.cidr, value]));
  return [...new Set([...handles.keys(), ...held.keys()])].flatMap((id) => {
    const named = handles.get(id)?.value.addresses;
    const missing = (held.get(id) ?? []).filter(({ ip }) => !named?.some((each) => each.ip === ip));
    const hasTooMany =
      named?.length === 0 ||
      named?.some(({ ip, block: cidr }) => {
        const block = byCidr.get(cidr);
        return !block || !isHeldBy(block, ip, id);
      }) === true;
    return missing.length > 0 || hasTooMany ? [{ id, missing, hasTooMany }] : [];
  });
}
