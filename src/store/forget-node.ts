import { randomUUID } from 'node:crypto';
import { codeOf, FlatnetError } from '../error.ts';
import { IpamKeys } from '../ipam/blocks/keys.ts';
import { type Removed, removeNode } from '../ipam/blocks/remove-node.ts';
import { isNameAnswered } from './challenge.ts';
import type { Kv } from './kv.ts';
import { Layout } from './layout.ts';
import { ResourceStore } from './resource-store.ts';

/** Milliseconds a living agent has to say that it is there. */
const ANSWER_TIME = 5_000;

/**
 * Takes all out of the store that a node had which left for good: its Node, its record and lease, its blocks and
 * addresses. It may be called again after a crash, or for blocks that others had borrowed from. Throws NOT_FOUND when there
 * is nothing; IN_USE when the node's agent lives, unless `force`.
 */
export async function forgetNode(
  kv: Kv,
  prefix: string,
  node: string,
  { force = false, answerTime = ANSWER_TIME } = {},
): Promise<Removed> {
  const layout = new Layout(prefix);
  const record = await kv.get(layout.node(node));
  if (record && !force && (await isNameAnswered(kv, layout.challenge(node), randomUUID(), answerTime))) {
    throw new FlatnetError('its agent is alive: its pods would go on with addresses that others get', {
      code: 'IN_USE',
      operation: 'delete',
      object: `Node/${node}`,
      fix: 'stop its pods and its agent first, or use --force',
    });
  }
  const hadResource = await deleteResource(kv, prefix, node);
  // All that the agent wrote about the node itself hangs on one lease.
  if (record && record.lease !== '0') await kv.revoke(record.lease);
  else if (record) await kv.delete(record.key);
  const removed = await removeNode(kv, new IpamKeys(prefix), node);
  const { released, blocks, kept } = removed;
  if (record || hadResource || released.length + blocks.length + kept.length > 0) return removed;
  throw new FlatnetError('there is no such node', { code: 'NOT_FOUND', object: `Node/${node}` });
}

async function deleteResource(kv: Kv, prefix: string, node: string): Promise<boolean> {
  try {
    await new ResourceStore(kv, prefix).delete('Node', node);
    return true;
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return false;
    throw error;
  }
}

/** `deleted`, and what that freed. */
export function removedText({ released, blocks, kept }: Removed): string {
  const freed = `; ${released.length} addresses and ${blocks.length} blocks are free again`;
  const left = `; kept while other nodes use addresses of them: ${kept.join(' ')}`;
  const isFreed = released.length + blocks.length > 0;
  return `deleted${isFreed ? freed : ''}${kept.length > 0 ? left : ''}`;
}
