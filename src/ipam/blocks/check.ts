import type { IpPool } from '../../cluster/resources.ts';
import { ipCompare } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, lastIp, lengthOf, nthIp } from '../../ip/cidr.ts';
import type { IpamKeys } from '../../store/etcd/block-keys.ts';
import type { Kv } from '../../store/kv/kv.ts';
import type { Block } from './block.ts';
import { ordinalOf } from './block.ts';
import { readSnapshot, type Snapshot } from './snapshot.ts';

/** What is known besides the plan's own keys; what is absent is not checked. */
export type Known = {
  readonly pools?: readonly IpPool[];
  readonly nodes?: ReadonlySet<string>;
};

/**
 * An `error` must never be, at no revision of the store. A `warning` is allowed and does no harm by itself,
 * but somebody should know: what is left of a node that is gone, of a pool that was deleted, of a claim that
 * was cut short.
 */
export type Finding = {
  readonly severity: 'error' | 'warning';
  readonly code:
    | 'ADDRESS_TWICE'
    | 'AFFINITY_WITHOUT_BLOCK'
    | 'ALLOCATION_WITHOUT_HANDLE'
    | 'BLOCK_INCONSISTENT'
    | 'BLOCK_OUTSIDE_POOLS'
    | 'BLOCK_WITHOUT_OWNER'
    | 'BLOCKS_OVERLAP'
    | 'CLAIM_PENDING'
    | 'HANDLE_WITHOUT_ALLOCATION'
    | 'NODE_UNKNOWN'
    | 'SEVERAL_OWNERS'
    | 'UNREADABLE';
  /** A block, an address, a handle, a node or a key. */
  readonly object: string;
  readonly text: string;
};

export type Report = {
  readonly findings: readonly Finding[];
  readonly counts: {
    readonly blocks: number;
    readonly addresses: number;
    readonly borrowed: number;
    readonly handles: number;
    readonly nodes: number;
  };
};

/**
 * Reads the plan's keys at one revision and holds them against each other. Right at any moment, also under
 * load.
 */
export async function checkIpam(kv: Kv, keys: IpamKeys, known: Known = {}): Promise<Report> {
  const snapshot = await readSnapshot(kv, keys);
  return { findings: findings(snapshot, keys, known), counts: counts(snapshot) };
}

export function findings(snapshot: Snapshot, keys: IpamKeys, known: Known = {}): Finding[] {
  return [
    ...snapshot.unreadable.map(({ key, problem }) => error('UNREADABLE', key, problem)),
    ...[...snapshot.blocks].flatMap(([key, block]) => inside(key, block, keys)),
    ...overlapping(snapshot),
    ...owners(snapshot, keys),
    ...handles(snapshot),
    ...strangers(snapshot, known),
  ];
}

export function counts({ blocks, handles, affinities }: Snapshot): Report['counts'] {
  const allocations = [...blocks.values()].flatMap((block) =>
    [...block.allocations.values()].map(({ node }) => node !== block.node),
  );
  return {
    blocks: blocks.size,
    addresses: allocations.length,
    borrowed: allocations.filter(Boolean).length,
    handles: handles.size,
    nodes: new Set(affinities.map(({ node }) => node)).size,
  };
}

/** One block by itself. */
function inside(key: string, block: Block, keys: IpamKeys): Finding[] {
  const problems: string[] = [];
  if (keys.block(block.cidr) !== key) problems.push(`stands under ${key}`);
  const sequences = [...block.allocations.values()].map(({ sequence }) => sequence);
  if (new Set(sequences).size !== sequences.length) problems.push('has a sequence number twice');
  if (sequences.some((sequence) => sequence >= block.sequence))
    problems.push('will repeat a sequence number');
  for (const ordinal of block.released.keys()) {
    if (block.allocations.has(ordinal)) problems.push(`${nthIp(block.cidr, ordinal)} is free and in use`);
  }
  return problems.map((text) => error('BLOCK_INCONSISTENT', block.cidr, text));
}

/** Sorted by address, a block can only overlap with the one before it that reaches farthest. */
function overlapping({ blocks }: Snapshot): Finding[] {
  const sorted = [...blocks.values()].sort(
    (a, b) => ipCompare(addressOf(a.cidr), addressOf(b.cidr)) || lengthOf(a.cidr) - lengthOf(b.cidr),
  );
  const found: Finding[] = [];
  let around: Block | undefined;
  for (const block of sorted) {
    if (around && contains(around.cidr, block.cidr)) {
      found.push(error('BLOCKS_OVERLAP', block.cidr, `lies in ${around.cidr}`), ...shared(around, block));
    }
    if (!around || ipCompare(lastIp(block.cidr), lastIp(around.cidr)) > 0) around = block;
  }
  return found;
}

function shared(outer: Block, inner: Block): Finding[] {
  return [...inner.allocations].flatMap(([ordinal, { handle }]) => {
    const ip = nthIp(inner.cidr, ordinal);
    const other = outer.allocations.get(ordinalOf(outer.cidr, ip) ?? -1);
    return other ? [error('ADDRESS_TWICE', ip, `is ${handle}'s and ${other.handle}'s`)] : [];
  });
}

function owners({ blocks, affinities }: Snapshot, keys: IpamKeys): Finding[] {
  const found: Finding[] = [];
  const owned = new Map<Cidr, string[]>();
  for (const { cidr, node, value } of affinities) {
    if (value === 'pending') {
      found.push(warning('CLAIM_PENDING', cidr, `${node} has announced to claim it, and not done so`));
    } else owned.set(cidr, [...(owned.get(cidr) ?? []), node]);
  }
  for (const [cidr, nodes] of owned) {
    const block = blocks.get(keys.block(cidr));
    if (!block)
      found.push(
        error('AFFINITY_WITHOUT_BLOCK', cidr, `is ${nodes.join("'s and ")}'s, and there is no such block`),
      );
    else if (nodes.length > 1) found.push(error('SEVERAL_OWNERS', cidr, `belongs to ${nodes.join(' and ')}`));
    else if (nodes[0] !== block.node) {
      found.push(error('SEVERAL_OWNERS', cidr, `belongs to ${block.node}, by its affinity to ${nodes[0]}`));
    }
  }
  for (const { cidr, node } of blocks.values()) {
    if (!owned.has(cidr)) found.push(error('BLOCK_WITHOUT_OWNER', cidr, `${node} has no affinity to it`));
  }
  return found;
}

/** A handle and the blocks say the same of who has what. */
function handles({ blocks, handles: all }: Snapshot): Finding[] {
  const found: Finding[] = [];
  const byCidr = new Map([...blocks.values()].map((block) => [block.cidr, block]));
  const named = new Set<string>();
  for (const [id, { addresses }] of all) {
    if (addresses.length === 0) found.push(error('HANDLE_WITHOUT_ALLOCATION', id, 'holds nothing'));
    for (const { ip, block } of addresses) {
      const owner = byCidr.get(block)?.allocations.get(ordinalOf(block, ip) ?? -1);
      if (owner?.handle === id) named.add(`${ip} ${id}`);
      else {
        const text = owner
          ? `says it has ${ip}, which is ${owner.handle}'s`
          : `says it has ${ip}, which is free`;
        found.push(error('HANDLE_WITHOUT_ALLOCATION', id, text));
      }
    }
  }
  for (const { cidr, allocations } of blocks.values()) {
    for (const [ordinal, { handle }] of allocations) {
      const ip = nthIp(cidr, ordinal);
      if (!named.has(`${ip} ${handle}`)) {
        found.push(error('ALLOCATION_WITHOUT_HANDLE', ip, `is ${handle}'s, which does not say so`));
      }
    }
  }
  return found;
}

function strangers({ blocks, affinities }: Snapshot, { pools, nodes }: Known): Finding[] {
  const found: Finding[] = [];
  for (const { cidr } of pools ? blocks.values() : []) {
    if (!pools?.some((pool) => contains(pool.cidr, cidr))) {
      found.push(warning('BLOCK_OUTSIDE_POOLS', cidr, 'is in no pool'));
    }
  }
  if (!nodes) return found;
  const seen = new Map<string, { claims: number; addresses: number }>();
  const of = (node: string): { claims: number; addresses: number } => {
    const counted = seen.get(node) ?? { claims: 0, addresses: 0 };
    seen.set(node, counted);
    return counted;
  };
  for (const { node } of affinities) of(node).claims++;
  for (const { allocations } of blocks.values())
    for (const { node } of allocations.values()) of(node).addresses++;
  for (const [node, { claims, addresses }] of seen) {
    if (nodes.has(node)) continue;
    const text = `is no node of the cluster and has ${claims} blocks and ${addresses} addresses; flatnet forget ${node} frees them`;
    found.push(warning('NODE_UNKNOWN', node, text));
  }
  return found;
}

function error(code: Finding['code'], object: string, text: string): Finding {
  return { severity: 'error', code, object, text };
}

function warning(code: Finding['code'], object: string, text: string): Finding {
  return { severity: 'warning', code, object, text };
}
