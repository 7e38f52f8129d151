import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { contains, overlaps } from '../../ip/cidr.ts';
import type { PerFamily } from '../node.ts';
import type { IpPool } from '../resources.ts';
import type { Resource } from './decode.ts';

/** Networks and addresses that a pool must not overlap. */
export type Occupied = {
  /** All pools, with or without the one being changed. */
  readonly pools: readonly IpPool[];
  /** The cluster's nodes. */
  readonly nodes: readonly { readonly name: string; readonly addresses: PerFamily<Ip> }[];
};

/**
 * Throws CONFIG_INVALID when `next` may not replace `before`. A network that blocks were cut from cannot
 * change; no address may be in two pools; and a node's address may be in none, because pods could get it and
 * it would be taken for a pod's.
 */
export function checkChange(next: Resource, before: Resource | undefined, { pools, nodes }: Occupied): void {
  if (next.kind !== 'IPPool') return;
  const pool = next.value;
  if (before?.kind === 'IPPool') {
    refuseChange(pool, before.value, 'cidr');
    refuseChange(pool, before.value, 'blockSize');
  }
  const other = pools.find((each) => each.name !== pool.name && overlaps(each.cidr, pool.cidr));
  if (other) {
    throw refused(
      pool.name,
      `${pool.cidr} overlaps ${other.cidr} of IPPool/${other.name}`,
      'choose a network that no other pool overlaps',
    );
  }
  // An existing pool must stay changeable, so that it can be disabled.
  if (before?.kind === 'IPPool') return;
  for (const { name, addresses } of nodes) {
    const own = Object.values(addresses).find((ip) => contains(pool.cidr, ip));
    if (own === undefined) continue;
    throw refused(
      pool.name,
      `${pool.cidr} holds ${own}, the address of node ${name}`,
      'choose a network without node addresses',
    );
  }
}

/** Like `checkChange`, for pools that are applied one after another. */
export function checkPools(next: readonly IpPool[], { pools, nodes }: Occupied): void {
  const known = new Map(pools.map((pool) => [pool.name, pool]));
  for (const value of next) {
    const before = known.get(value.name);
    const resource = { kind: 'IPPool', value } as const;
    checkChange(resource, before && { kind: 'IPPool', value: before }, { pools: [...known.values()], nodes });
    known.set(value.name, value);
  }
}

function refuseChange(next: IpPool, before: IpPool, field: 'cidr' | 'blockSize'): void {
  if (next[field] === before[field]) return;
  throw refused(
    next.name,
    `spec.${field} can't change from ${before[field]} to ${next[field]}: nodes have blocks cut from it`,
    'create another pool, set disabled: true on this one, and delete it once its pods are gone',
  );
}

/** How much of a pool is in use. `addresses` counts pods' addresses, not those of nodes' tunnels. */
export type Usage = { readonly blocks: number; readonly addresses: number };

/**
 * Throws IN_USE when a pool should not be deleted yet. Its pods would keep their addresses and routes but no
 * longer be recognised as pods: their traffic would not be masqueraded, and traffic to them from pods of
 * other pools would be. And unless the pool is disabled, a node may be assigning addresses from it right now.
 */
export function checkDeletion(pool: IpPool, { blocks, addresses }: Usage): void {
  const inUse = (text: string, fix: string): FlatnetError =>
    new FlatnetError(text, { code: 'IN_USE', operation: 'delete', object: `IPPool/${pool.name}`, fix });
  if (addresses > 0) {
    throw inUse(
      `${addresses} ${addresses === 1 ? 'pod has an address' : 'pod addresses are'} in ${pool.cidr}; without the pool their traffic is not masqueraded, and traffic to them from other pools’ pods is`,
      `set disabled: true on it and recreate the pods${pool.disabled ? ' (it is disabled already)' : ''}, or use --force`,
    );
  }
  if (blocks > 0 && !pool.disabled) {
    throw inUse(
      `nodes have ${blocks} blocks of ${pool.cidr} and may be assigning addresses right now`,
      'set disabled: true on it first, or use --force',
    );
  }
}

function refused(name: string, text: string, fix: string): FlatnetError {
  return new FlatnetError(text, {
    code: 'CONFIG_INVALID',
    operation: 'apply',
    object: `IPPool/${name}`,
    fix,
  });
}
