import { codeOf, FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { BlockStore, Snapshot } from '../../store/ports/blocks.ts';
import type { Membership } from '../../store/ports/membership.ts';
import type { ResourceStore } from '../../store/ports/resources.ts';
import { dropBlock, withdraw } from './claim.ts';
import { freeAddresses } from './free.ts';
import { handlesOf, type Leak } from './leak.ts';
import { CONFLICT, retrying } from './retry.ts';

/**
 * Addresses and blocks freed for a removed node; `kept`: blocks with addresses other nodes' pods still use.
 */
export type Removed = {
  readonly released: readonly Ip[];
  readonly blocks: readonly Cidr[];
  readonly kept: readonly Cidr[];
};

/** How many blocks a node still has, and how many of its addresses are in them. */
export type Remains = { readonly blocks: number; readonly addresses: number };

type Ports = {
  readonly membership: Membership;
  readonly resources: ResourceStore;
  readonly blocks: BlockStore;
};

/** Milliseconds within which a live agent must answer. */
const ANSWER_TIME = 5_000;

/**
 * Removes everything a permanently departed node had in the store: its Node resource, its record and lease,
 * its blocks and addresses. May be called again after a crash, or for blocks that other nodes had borrowed
 * from. Throws NOT_FOUND when there is nothing to remove, IN_USE when the node's agent is alive, unless
 * `force`.
 */
export async function forgetNode(
  { membership, resources, blocks }: Ports,
  node: string,
  { force = false, answerTime = ANSWER_TIME } = {},
): Promise<Removed> {
  if (!force && (await membership.isAlive(node, answerTime))) {
    throw new FlatnetError('its agent is alive: its pods would keep using addresses assigned to other pods', {
      code: 'IN_USE',
      operation: 'forget',
      object: `node ${node}`,
      fix: 'stop its pods and its agent first, or use --force',
    });
  }
  const hadResource = await deleteResource(resources, node);
  const wasMember = await membership.forget(node);
  const removed = await removeNode(blocks, node);
  const { released, blocks: dropped, kept } = removed;
  if (wasMember || hadResource || released.length + dropped.length + kept.length > 0) return removed;
  throw new FlatnetError('there is no such node', { code: 'NOT_FOUND', object: `node ${node}` });
}

/** Returns what a dead node left behind; undefined when it has no block or its agent answers. */
export async function remainsOf(
  { membership, blocks }: Ports,
  node: string,
  answerTime = ANSWER_TIME,
): Promise<Remains | undefined> {
  const own = (await blocks.affinities(node)).map(({ value }) => value.cidr);
  if (own.length === 0 || (await membership.isAlive(node, answerTime))) return undefined;
  const found = (await blocks.blocks(own)).map(({ value }) => value);
  const addresses = handlesOf(node, found).flatMap((handle) => handle.addresses).length;
  return { blocks: found.length, addresses };
}

/**
 * Releases all blocks and addresses of a node that left the cluster permanently. Blocks that others borrow
 * from remain its own, so that every block always has an owner. They can still be borrowed from, but no node
 * advertises them: call again later to release them. Any node may call this, even several at once.
 */
export async function removeNode(store: BlockStore, node: string, clock = Date.now): Promise<Removed> {
  const snapshot = await store.snapshot();
  const found = snapshot.blocks.map(({ value }) => value);
  const released: Ip[] = [];
  for (const { handle, addresses } of [...handlesOf(node, found), ...emptyHandles(node, snapshot)]) {
    const request = {
      handle,
      blocks: addresses.map(({ block }) => block),
      filter: (_: Ip, owner: { readonly node: string }): boolean => owner.node === node,
    };
    released.push(...(await freeAddresses(store, request, { now: clock() / 1000 })));
  }
  const blocks: Cidr[] = [];
  const kept: Cidr[] = [];
  for (const { value } of await store.affinities(node)) {
    const outcome = await retrying('node remove', Math.random, () => releaseBlock(store, node, value.cidr));
    if (outcome === 'dropped') blocks.push(value.cidr);
    if (outcome === 'in use') kept.push(value.cidr);
  }
  return { released, blocks, kept };
}

/** Returns the node's handles without any allocation: it was interrupted before allocating an address. */
function emptyHandles(node: string, { blocks, handles }: Snapshot): Leak[] {
  const used = new Set(
    blocks.flatMap(({ value }) => [...value.allocations.values()].map(({ handle }) => handle)),
  );
  return [...handles]
    .filter(([id, { value }]) => value.node === node && !used.has(id))
    .map(([handle]) => ({ handle, addresses: [] }));
}

type Outcome = 'dropped' | 'in use' | 'gone';

async function releaseBlock(store: BlockStore, node: string, cidr: Cidr): Promise<Outcome | typeof CONFLICT> {
  const affinity = (await store.affinities(node)).find(({ value }) => value.cidr === cidr);
  if (!affinity) return 'gone';
  const [block] = await store.blocks([cidr]);
  if (block?.value.node !== node) return (await withdraw(store, affinity)) ? 'gone' : CONFLICT;
  if (block.value.allocations.size > 0) return 'in use';
  return (await dropBlock(store, block)) ? 'dropped' : CONFLICT;
}

async function deleteResource(resources: ResourceStore, node: string): Promise<boolean> {
  try {
    await resources.delete('Node', node);
    return true;
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return false;
    throw error;
  }
}
