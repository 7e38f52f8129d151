import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { contains, overlaps } from '../../ip/cidr.ts';
import type { PerFamily } from '../node.ts';
import type { IpPool } from '../resources.ts';
import type { Resource } from './decode.ts';

/** What a pool must not overlap. */
export type Occupied = {
  /** All there are, whether the one in question is among them or not. */
  readonly pools: readonly IpPool[];
  /** The addresses of the cluster's nodes themselves. */
  readonly nodes: readonly { readonly name: string; readonly addresses: PerFamily<Ip> }[];
};

/**
 * Throws CONFIG_INVALID when `next` may not replace `before`. What blocks were cut from cannot change under
 * them; no address may be in two pools; and a node's own address may be in none, as pods would get it, and it
 * would pass for a pod's.
 */
export function checkChange(next: Resource, before: Resource | undefined, { pools, nodes }: Occupied): void {
  if (next.kind !== 'IPPool') return;
  const pool = next.value;
  if (before?.kind === 'IPPool') {
    refuseOther(pool, before.value, 'cidr');
    refuseOther(pool, before.value, 'blockSize');
  }
  const other = pools.find((each) => each.name !== pool.name && overlaps(each.cidr, pool.cidr));
  if (other) {
    throw refused(
      pool.name,
      `${pool.cidr} overlaps ${other.cidr} of IPPool/${other.name}`,
      'choose a network of its own',
    );
  }
  // An existing one must stay changeable, so that it can be disabled.
  if (before?.kind === 'IPPool') return;
  for (const { name, addresses } of nodes) {
    const own = Object.values(addresses).find((ip) => contains(pool.cidr, ip));
    if (own === undefined) continue;
    throw refused(
      pool.name,
      `${pool.cidr} holds ${own}, the address of node ${name} itself`,
      'choose a network that is not the nodes’ own',
    );
  }
}

function refuseOther(next: IpPool, before: IpPool, field: 'cidr' | 'blockSize'): void {
  if (next[field] === before[field]) return;
  throw refused(
    next.name,
    `spec.${field} can't change from ${before[field]} to ${next[field]}: nodes have blocks cut from it`,
    'make another pool, set disabled: true on this one, and delete it when its pods are gone',
  );
}

/** How much of a pool is in use. `addresses`: pods' only, not those of nodes' tunnels. */
export type Usage = { readonly blocks: number; readonly addresses: number };

/**
 * Throws IN_USE when a pool should not be deleted yet. Its pods would keep addresses and routes, but nothing
 * would say that they are pods: what they send would not be masqueraded, and what pods of other pools send
 * them would be. And unless the pool is disabled, a node may be taking addresses from it right now.
 */
export function checkDeletion(pool: IpPool, { blocks, addresses }: Usage): void {
  const inUse = (text: string, fix: string): FlatnetError =>
    new FlatnetError(text, { code: 'IN_USE', operation: 'delete', object: `IPPool/${pool.name}`, fix });
  if (addresses > 0) {
    throw inUse(
      `${addresses} ${addresses === 1 ? 'pod has an address' : 'addresses of pods are'} of ${pool.cidr}; without the pool what they send is not masqueraded, and what other pools’ pods send to them is`,
      `set disabled: true on it and make the pods anew${pool.disabled ? ' (it is disabled already)' : ''}, or use --force`,
    );
  }
  if (blocks > 0 && !pool.disabled) {
    throw inUse(
      `nodes have ${blocks} blocks of ${pool.cidr} and may be giving out addresses now`,
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
