import type { IpPool } from '../../cluster/resources.ts';
import { ipCompare } from '../../ip/address.ts';
import { addressOf, type Cidr, contains, lastIp, lengthOf, nthIp } from '../../ip/cidr.ts';
import type { Block, BlockStore, Snapshot } from '../../store/ports/blocks.ts';
import { isHeldBy, ordinalOf } from './block.ts';

/** Facts from outside the plan to check against; absent ones are not checked. */
export type Known = {
  readonly pools?: readonly IpPool[];
  readonly nodes?: ReadonlySet<string>;
};

/**
 * An `error` should never occur: it indicates a bug or a manually edited store. A `warning` is harmless in
 * itself: a leftover from a deleted node, a deleted pool or an operation interrupted by a crash.
 */
export type Finding = {
  readonly severity: 'error' | 'warning';
  readonly code:
    | 'ADDRESS_TWICE'
    | 'AFFINITY_STALE'
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
  /** A block, address, handle, node, or the name of a store object. */
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
 * Checks blocks, affinities and handles for consistency, even under load: findings are checked a second time,
 * and those that have disappeared were operations in progress.
 */
export async function checkIpam(store: BlockStore, known: Known = {}): Promise<Report> {
  const first = await store.snapshot();
  const found = findings(first, known);
  if (found.length === 0) return { findings: found, counts: counts(first) };
  const second = await store.snapshot();
  const seen = new Set(found.map((finding) => JSON.stringify(finding)));
  return {
    findings: findings(second, known).filter((finding) => seen.has(JSON.stringify(finding))),
    counts: counts(second),
  };
}

export function findings(snapshot: Snapshot, known: Known = {}): Finding[] {
  return [
    ...snapshot.unreadable.map(({ object, problem }) => error('UNREADABLE', object, problem)),
    ...snapshot.blocks.flatMap(({ value }) => inside(value)),
    ...overlapping(snapshot),
    ...owners(snapshot),
    ...handles(snapshot),
    ...unknownReferences(snapshot, known),
  ];
}

export function counts({ blocks, handles, affinities }: Snapshot): Report['counts'] {
  const allocations = blocks.flatMap(({ value: block }) =>
    [...block.allocations.values()].map(({ node }) => node !== block.node),
  );
  return {
    blocks: blocks.length,
    addresses: allocations.length,
    borrowed: allocations.filter(Boolean).length,
    handles: handles.size,
    nodes: new Set(affinities.map(({ value }) => value.node)).size,
  };
}

/** Checks a single block. */
function inside(block: Block): Finding[] {
  const problems: string[] = [];
  const sequences = [...block.allocations.values()].map(({ sequence }) => sequence);
  if (new Set(sequences).size !== sequences.length) problems.push('has a duplicate sequence number');
  if (sequences.some((sequence) => sequence >= block.sequence))
    problems.push('would reuse a sequence number');
  for (const ordinal of block.released.keys()) {
    if (block.allocations.has(ordinal))
      problems.push(`${nthIp(block.cidr, ordinal)} is both free and in use`);
  }
  return problems.map((text) => error('BLOCK_INCONSISTENT', block.cidr, text));
}

/** Among blocks sorted by address, each can only overlap the preceding block that reaches farthest. */
function overlapping({ blocks }: Snapshot): Finding[] {
  const sorted = blocks
    .map(({ value }) => value)
    .sort((a, b) => ipCompare(addressOf(a.cidr), addressOf(b.cidr)) || lengthOf(a.cidr) - lengthOf(b.cidr));
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
    return other ? [error('ADDRESS_TWICE', ip, `is held by both ${handle} and ${other.handle}`)] : [];
  });
}

/**
 * Checks affinities against blocks. States left by a crash are warnings that say which node resolves them.
 */
function owners({ blocks, affinities }: Snapshot): Finding[] {
  const byCidr = new Map(blocks.map(({ value }) => [value.cidr, value]));
  const confirmed = new Map<Cidr, string[]>();
  const found: Finding[] = [];
  for (const { value } of affinities) {
    const { cidr, node, state } = value;
    const owner = byCidr.get(cidr)?.node;
    if (state === 'confirmed') confirmed.set(cidr, [...(confirmed.get(cidr) ?? []), node]);
    else if (owner === node) {
      const text = `belongs to ${node} but is not advertised: ${node} was claiming or releasing it and will finish that`;
      found.push(warning('CLAIM_PENDING', cidr, text));
    } else {
      found.push(warning('CLAIM_PENDING', cidr, `${node} has announced a claim but not completed it`));
    }
    if (state !== 'confirmed' || owner === node) continue;
    if (owner === undefined)
      found.push(
        error('AFFINITY_WITHOUT_BLOCK', cidr, `is claimed by ${node}, but the block does not exist`),
      );
    else {
      const text = `moved from ${node} to ${owner}, which has not confirmed it: either node will finish that`;
      found.push(warning('AFFINITY_STALE', cidr, text));
    }
  }
  for (const [cidr, nodes] of confirmed) {
    if (nodes.length > 1)
      found.push(error('SEVERAL_OWNERS', cidr, `is advertised by ${nodes.join(' and ')}`));
  }
  for (const { cidr, node } of byCidr.values()) {
    const isCovered = affinities.some(({ value }) => value.cidr === cidr && value.node === node);
    if (!isCovered) found.push(error('BLOCK_WITHOUT_OWNER', cidr, `its node ${node} has no affinity for it`));
  }
  return found;
}

/**
 * Checks handles against blocks. A handle must list at least its addresses in other nodes' blocks; those in
 * its own node's blocks are found by searching the blocks.
 */
function handles({ blocks, handles: all }: Snapshot): Finding[] {
  const found: Finding[] = [];
  const byCidr = new Map(blocks.map(({ value }) => [value.cidr, value]));
  const named = new Set<string>();
  for (const [id, { value }] of all) {
    if (value.addresses.length === 0)
      found.push(warning('HANDLE_WITHOUT_ALLOCATION', id, 'lists no addresses'));
    for (const { ip, block: cidr } of value.addresses) {
      const block = byCidr.get(cidr);
      if (block && isHeldBy(block, ip, id)) named.add(`${ip} ${id}`);
      else {
        const owner = block?.allocations.get(ordinalOf(cidr, ip) ?? -1)?.handle;
        const text = `lists ${ip}, which is ${owner === undefined ? 'free' : `held by ${owner}`}`;
        found.push(warning('HANDLE_WITHOUT_ALLOCATION', id, text));
      }
    }
  }
  for (const { cidr, node: owner, allocations } of byCidr.values()) {
    for (const [ordinal, { handle, node }] of allocations) {
      const ip = nthIp(cidr, ordinal);
      if (node !== owner && !named.has(`${ip} ${handle}`)) {
        found.push(error('ALLOCATION_WITHOUT_HANDLE', ip, `is held by ${handle}, which does not list it`));
      }
    }
  }
  return found;
}

function unknownReferences({ blocks, affinities }: Snapshot, { pools, nodes }: Known): Finding[] {
  const found: Finding[] = [];
  for (const { value } of pools ? blocks : []) {
    if (!pools?.some((pool) => contains(pool.cidr, value.cidr))) {
      found.push(warning('BLOCK_OUTSIDE_POOLS', value.cidr, 'is in no pool'));
    }
  }
  if (!nodes) return found;
  const seen = new Map<string, { claims: number; addresses: number }>();
  const of = (node: string): { claims: number; addresses: number } => {
    const counted = seen.get(node) ?? { claims: 0, addresses: 0 };
    seen.set(node, counted);
    return counted;
  };
  for (const { value } of affinities) of(value.node).claims++;
  for (const { value } of blocks) for (const { node } of value.allocations.values()) of(node).addresses++;
  for (const [node, { claims, addresses }] of seen) {
    if (nodes.has(node)) continue;
    const text = `is not a node of the cluster but has ${claims} blocks and ${addresses} addresses; flatnet forget ${node} frees them`;
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
