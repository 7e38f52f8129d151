import { FlatnetError } from '../../error.ts';
import { overlaps } from '../../ip/cidr.ts';
import type { IpPool } from '../resources.ts';
import type { Resource } from './decode.ts';

/**
 * Throws CONFIG_INVALID when `next` may not follow `before`: what blocks were cut from can't change under them, and no address
 * may be in two pools. `pools`: all there are, whether `before` is among them or not.
 */
export function checkChange(next: Resource, before: Resource | undefined, pools: readonly IpPool[]): void {
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
}

function refuseOther(next: IpPool, before: IpPool, field: 'cidr' | 'blockSize'): void {
  if (next[field] === before[field]) return;
  throw refused(
    next.name,
    `spec.${field} can't change from ${before[field]} to ${next[field]}: nodes have blocks cut from it`,
    'make another pool, set disabled: true on this one, and delete it when its pods are gone',
  );
}

/** What of a pool is in use. `addresses`: those of pods, without the nodes' tunnels. */
export type Usage = { readonly blocks: number; readonly addresses: number };

/**
 * Throws IN_USE when a pool should not be deleted yet. Pods keep their addresses when their pool goes, but nobody announces or
 * masquerades them any more: they are cut off. And from a pool that isn't disabled a node may be taking addresses just now.
 */
export function checkDeletion(pool: IpPool, { blocks, addresses }: Usage): void {
  const inUse = (text: string, fix: string): FlatnetError =>
    new FlatnetError(text, { code: 'IN_USE', operation: 'delete', object: `IPPool/${pool.name}`, fix });
  if (addresses > 0) {
    throw inUse(
      `${addresses} ${addresses === 1 ? 'pod has an address' : 'addresses of pods are'} of ${pool.cidr}; without the pool they would be cut off`,
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
