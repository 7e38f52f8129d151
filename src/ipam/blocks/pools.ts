import type { IpPool } from '../../cluster/resources.ts';
import { parseSelector } from '../../cluster/selector.ts';
import { FlatnetError } from '../../error.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';

export type PoolCriteria = {
  readonly family: Family;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  /** By name or CIDR; pools of the other family are ignored. */
  readonly pools?: readonly string[];
};

/**
 * Returns the pools the address may come from, sorted by name. As in Calico, pools requested by name need not
 * select the node or the namespace. Throws CONFIG_INVALID when one of them does not exist or all of them are
 * disabled.
 */
export function usablePools(pools: readonly IpPool[], criteria: PoolCriteria): IpPool[] {
  const ordered = pools.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const named = criteria.pools?.flatMap((text) => poolNamed(ordered, text)) ?? [];
  const asked = named.filter(({ cidr }) => familyOf(cidr) === criteria.family);
  if (asked.length === 0) return ordered.filter((pool) => selects(pool, criteria));
  const enabled = asked.filter((pool) => !pool.disabled);
  if (enabled.length > 0) return enabled;
  throw invalid(asked.map(({ name }) => name).join(', '), 'is disabled');
}

/** Returns the enabled pool that contains the address. */
export function poolOf(pools: readonly IpPool[], ip: Ip): IpPool | undefined {
  return pools.find((pool) => !pool.disabled && contains(pool.cidr, ip));
}

/** Name of the pool that contains the block; empty if deleted, since blocks in use outlive their pool. */
export function poolName(pools: readonly IpPool[], block: Cidr): string {
  return pools.find((pool) => contains(pool.cidr, block))?.name ?? '';
}

/** Whether the pool serves requests that do not name it. */
export function selects(pool: IpPool, criteria: PoolCriteria): boolean {
  if (pool.disabled || pool.assignmentMode !== 'Automatic' || familyOf(pool.cidr) !== criteria.family)
    return false;
  if (!parseSelector(pool.nodeSelector)(criteria.nodeLabels)) return false;
  const { namespaceSelector } = pool;
  if (namespaceSelector === undefined) return true;
  return criteria.namespaceLabels !== undefined && parseSelector(namespaceSelector)(criteria.namespaceLabels);
}

function poolNamed(pools: readonly IpPool[], text: string): IpPool {
  const found = pools.find(({ name, cidr }) => name === text || cidr === text);
  if (found) return found;
  throw invalid(text, 'does not exist', `use one of ${pools.map(({ name }) => name).join(', ')}`);
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
