import type { IpPool } from '../../cluster/resources.ts';
import type { Ip } from '../../ip/address.ts';
import { type Cidr, contains, nthIp, sizeOf } from '../../ip/cidr.ts';
import type { Snapshot } from '../../store/ports/blocks.ts';
import { blockSize } from './block.ts';

export type PoolUsage = {
  readonly pool: string;
  readonly cidr: Cidr;
  /** Decimal string: an IPv6 pool has more addresses than a double can represent exactly. */
  readonly total: string;
  readonly used: number;
  readonly blocks: readonly BlockUsage[];
};

export type BlockUsage = {
  readonly cidr: Cidr;
  readonly node: string;
  readonly total: number;
  readonly used: number;
};

export type BorrowedUsage = {
  readonly ip: Ip;
  /** The node that uses the address. */
  readonly node: string;
  readonly block: Cidr;
  readonly owner: string;
  readonly type: string;
  readonly allocatedTo: string;
};

/** Returns the usage of each pool and its blocks; blocks outside all pools come last, each on its own. */
export function usage({ blocks }: Snapshot, pools: readonly IpPool[]): PoolUsage[] {
  const all = blocks.map(
    ({ value: { cidr, node, allocations } }): BlockUsage => ({
      cidr,
      node,
      total: blockSize(cidr),
      used: allocations.size,
    }),
  );
  const group = (pool: string, cidr: Cidr, of: readonly BlockUsage[]): PoolUsage => ({
    pool,
    cidr,
    total: `${sizeOf(cidr)}`,
    used: of.reduce((sum, { used }) => sum + used, 0),
    blocks: of,
  });
  const inPools = pools.map(({ name, cidr }) =>
    group(
      name,
      cidr,
      all.filter((block) => contains(cidr, block.cidr)),
    ),
  );
  const outside = all.filter(({ cidr }) => !pools.some((pool) => contains(pool.cidr, cidr)));
  return [...inPools, ...outside.map((block) => group('', block.cidr, [block]))];
}

export function borrowedUsage({ blocks }: Snapshot): BorrowedUsage[] {
  return blocks.flatMap(({ value: block }) =>
    [...block.allocations].flatMap(([ordinal, { node, handle, pod, namespace, type }]) => {
      if (node === block.node) return [];
      const allocatedTo = pod === undefined ? handle : `${namespace ?? 'default'}/${pod}`;
      const ip = nthIp(block.cidr, ordinal);
      return [{ ip, node, block: block.cidr, owner: block.node, type: type ?? '', allocatedTo }];
    }),
  );
}
