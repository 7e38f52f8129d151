import { randomUUID } from 'node:crypto';
import { codeOf, FlatnetError } from '../../error.ts';
import { IpamKeys } from '../../store/etcd/block-keys.ts';
import { isNameAnswered } from '../../store/etcd/challenge.ts';
import { Layout } from '../../store/etcd/layout.ts';
import { ResourceStore } from '../../store/etcd/resource-store.ts';
import type { Kv } from '../../store/kv/kv.ts';
import { handlesOf } from './leak.ts';
import { IpamRecords } from './records.ts';
import { type Removed, removeNode } from './remove-node.ts';

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
  if (record && !force && (await isAlive(kv, layout, node, answerTime))) {
    throw new FlatnetError('its agent is alive: its pods would go on with addresses that others get', {
      code: 'IN_USE',
      operation: 'forget',
      object: `node ${node}`,
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
  throw new FlatnetError('there is no such node', { code: 'NOT_FOUND', object: `node ${node}` });
}

/** The blocks that a node still has, and its addresses of them. */
export type Remains = { readonly blocks: number; readonly addresses: number };

/** Of a node whose agent does not answer; undefined when it has no block, and of one that lives. */
export async function remainsOf(
  kv: Kv,
  prefix: string,
  node: string,
  answerTime = ANSWER_TIME,
): Promise<Remains | undefined> {
  const layout = new Layout(prefix);
  const records = new IpamRecords(kv, new IpamKeys(prefix));
  const own = (await records.affinities(node)).map(({ cidr }) => cidr);
  if (own.length === 0) return undefined;
  const record = await kv.get(layout.node(node));
  if (record && (await isAlive(kv, layout, node, answerTime))) return undefined;
  const blocks = (await records.blocks(own)).map(({ value }) => value);
  const addresses = handlesOf(node, blocks).flatMap((handle) => handle.addresses).length;
  return { blocks: blocks.length, addresses };
}

function isAlive(kv: Kv, layout: Layout, node: string, answerTime: number): Promise<boolean> {
  return isNameAnswered(kv, layout.challenge(node), randomUUID(), answerTime);
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
