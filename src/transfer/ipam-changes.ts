import { isDeepStrictEqual } from 'node:util';
import { FlatnetError } from '../error.ts';
import { overlaps } from '../ip/cidr.ts';
import { handlesOf } from '../ipam/blocks/repair.ts';
import {
  type Affinity,
  type Block,
  type BlockStore,
  DEFAULT_IPAM_CONFIG,
  type Snapshot,
  type Stored,
} from '../store/ports/blocks.ts';
import { type Change, difference } from './change.ts';
import type { Contents } from './contents.ts';

type Ipam = Pick<Contents, 'config' | 'blocks' | 'affinities'>;

/**
 * The changes for what pods have, in an order in which a crash does no harm: handles, announced affinities,
 * blocks, and last the affinities' own states.
 */
export async function ipamChanges(
  { config, blocks, affinities }: Ipam,
  store: BlockStore,
): Promise<Change[]> {
  const known = await store.snapshot();
  if (known.unreadable.length > 0) return known.unreadable.map(unreadable);
  const configured = isDeepStrictEqual(known.config, DEFAULT_IPAM_CONFIG)
    ? { state: isDeepStrictEqual(config, known.config) ? ('same' as const) : ('absent' as const) }
    : difference(known.config, config);
  return [
    { object: 'ipam settings', ...configured, write: () => store.configure(config) },
    ...handleChanges(blocks, known, store),
    ...blockChanges(blocks, known, store),
    ...affinities.map((affinity) => affinityChange(affinity, known, store)),
  ];
}

/** What cannot be read is not absent: writing it would fail, midway. */
function unreadable({ object, problem }: Snapshot['unreadable'][number]): Change {
  const why = `cannot be read (${problem}); see flatnet ipam check`;
  return { object, state: 'refused', why, write: async () => {} };
}

/** A handle may list too much, never too little: what it lists here already stays. */
function handleChanges(blocks: readonly Block[], known: Snapshot, store: BlockStore): Change[] {
  return [...handlesOf(blocks)].map(([id, wanted]): Change => {
    const found = known.handles.get(id);
    const listed = found?.value.addresses ?? [];
    const missing = wanted.addresses.filter(({ ip }) => !listed.some((each) => each.ip === ip));
    const object = `handle ${id}`;
    const next = { ...wanted, ...found?.value, addresses: [...listed, ...missing] };
    const write = async (): Promise<void> => assertWritten(object, await store.writeHandle(id, found, next));
    return { object, state: missing.length > 0 ? 'absent' : 'same', announce: write, write: async () => {} };
  });
}

function blockChanges(blocks: readonly Block[], known: Snapshot, store: BlockStore): Change[] {
  const found = new Map(known.blocks.map((block) => [block.value.cidr, block]));
  return blocks.map((block): Change => {
    const { cidr } = block;
    const object = `block ${cidr}`;
    const before = found.get(cidr);
    if (before)
      return { object, ...compared(before.value, block), write: () => replace(object, before, block, store) };
    const other = known.blocks.find(({ value }) => overlaps(value.cidr, cidr));
    const write = async (): Promise<void> => assertWritten(object, await store.createBlock(block));
    if (!other) return { object, state: 'absent', write };
    return { object, state: 'refused', why: `overlaps ${other.value.cidr} of ${other.value.node}`, write };
  });
}

/** A higher sequence here is as good: it only says what numbers have been used. */
function compared(before: Block, block: Block): Pick<Change, 'state' | 'why'> {
  return difference(before, { ...block, sequence: Math.max(before.sequence, block.sequence) });
}

async function replace(
  object: string,
  before: Stored<Block>,
  block: Block,
  store: BlockStore,
): Promise<void> {
  const sequence = Math.max(before.value.sequence, block.sequence);
  assertWritten(object, await store.replaceBlock(before, { ...block, sequence }));
}

function affinityChange({ node, cidr, state }: Affinity, known: Snapshot, store: BlockStore): Change {
  const found = known.affinities.find(({ value }) => value.node === node && value.cidr === cidr);
  const object = `affinity of ${node} for ${cidr}`;
  const announce = (): Promise<Stored<Affinity>> => store.announce(node, cidr);
  const write = async (): Promise<void> => {
    const announced = await announce();
    if (announced.value.state !== state) assertWritten(object, await store.setAffinity(announced, state));
  };
  if (!found) return { object, state: 'absent', announce, write };
  return { object, ...difference(found.value, { node, cidr, state }), announce, write };
}

function assertWritten(object: string, written: unknown): void {
  if (written !== undefined) return;
  throw new FlatnetError('has been changed by someone else', {
    code: 'STORE_CONFLICT',
    operation: 'store import',
    object,
    fix: 'stop the agents of both stores, and import again: what is there already is kept',
  });
}
