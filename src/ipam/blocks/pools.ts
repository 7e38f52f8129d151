import type { IpPool } from '../../cluster/resources.ts';
import { parseSelector } from '../../cluster/selector.ts';
import { FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';

export type PoolWish = {
  readonly family: Family;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  /** By name or CIDR; those of the other family do not count. */
  readonly pools?: readonly string[];
};

/**
 * The pools that the address may come from, sorted by name. As in Calico, pools asked for by name need not
 * select the node or the namespace. Throws CONFIG_INVALID when one of them does not exist or all of them are
 * disabled.
 */
export function usablePools(pools: readonly IpPool[], wish: PoolWish): IpPool[] {
  const ordered = pools.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const named = wish.pools?.flatMap((text) => poolNamed(ordered, text)) ?? [];
  const asked = named.filter(({ cidr }) => familyOf(cidr) === wish.family);
  if (asked.length === 0) return ordered.filter((pool) => selects(pool, wish));
  const enabled = asked.filter((pool) => !pool.disabled);
  if (enabled.length > 0) return enabled;
  throw invalid(asked.map(({ name }) => name).join(', '), 'is disabled');
}

/** The enabled pool that holds the address. */
export function poolOf(pools: readonly IpPool[], ip: Ip): IpPool | undefined {
  return pools.find((pool) => !pool.disabled && contains(pool.cidr, ip));
}

/** The pool that holds the block; empty when it is gone, as what is in use outlives it. */
export function poolName(pools: readonly IpPool[], block: Cidr): string {
  return pools.find((pool) => contains(pool.cidr, block))?.name ?? '';
}

/** Whether the pool gives addresses to those who do not ask for it by name. */
export function selects(pool: IpPool, wish: PoolWish): boolean {
  if (pool.disabled || pool.assignmentMode !== 'Automatic' || familyOf(pool.cidr) !== wish.family)
    return false;
  if (!parseSelector(pool.nodeSelector)(wish.nodeLabels)) return false;
  const { namespaceSelector } = pool;
  if (namespaceSelector === undefined) return true;
  return wish.namespaceLabels !== undefined && parseSelector(namespaceSelector)(wish.namespaceLabels);
}

function poolNamed(pools: readonly IpPool[], text: string): IpPool {
  const found = pools.find(({ name, cidr }) => name === text || cidr === text);
  if (found) return found;
  throw invalid(text, 'there is no such pool', `use one of ${pools.map(({ name }) => name).join(', ')}`);
}

function invalid(pool: string, text: string, fix?: string): FlatnetError {
  return new FlatnetError(text, {
    code: 'CONFIG_INVALID',
    operation: 'address assign',
    object: `pool ${pool}`,
    ...(fix && { fix }),
  });
}

export function outOfAddresses(
  family: Family,
  text: string,
  fix = 'see flatnet ipam show --blocks; add an IPPool, or raise maxBlocksPerHost',
): FlatnetError {
  return new FlatnetError(text, {
    code: 'OUT_OF_ADDRESSES',
    operation: 'address assign',
    object: `IPv${family}`,
    fix,
  });
}
