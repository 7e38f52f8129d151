import { isDeepStrictEqual } from 'node:util';
import type { NodeFacts } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Ip } from '../../ip/address.ts';
import { type Cidr, overlaps } from '../../ip/cidr.ts';
import { encodeLease } from '../flannel/lease-value.ts';
import { encodeRecord } from '../flannel/node-record.ts';
import type { Compare, KeyValue, Operation, Transaction } from '../kv/kv.ts';
import type { ClusterState } from './cluster-state.ts';
import { namesNobody } from './facts.ts';
import type { Layout } from './layout.ts';

/** The node and subnets one agent holds in the store. */
export type Holding = {
  readonly self: NodeFacts;
  /** Empty under the `blocks` plan. */
  readonly subnets: readonly Cidr[];
  readonly instance: string;
};

/** Returns the keys and values of a holding, written in one transaction under one lease. */
export function keysOf(layout: Layout, { self, subnets, instance }: Holding): Map<string, string> {
  const { name, labels, addresses, senders, backend } = self;
  const record = { name, labels, subnets, addresses, instance, ...(senders && { senders }) };
  if (subnets.length === 0) {
    return new Map([[layout.node(name), encodeRecord({ ...record, backend })]]);
  }
  const keys = new Map([
    [layout.lease(subnets), encodeLease(self)],
    [layout.node(name), encodeRecord(record)],
  ]);
  if (subnets.length > 1) for (const subnet of subnets) keys.set(layout.family(subnet), name);
  return keys;
}

/**
 * Builds the transaction that writes the holding, based on the state it was chosen from. The transaction
 * fails if any of the keys or the configuration has changed since, so that nodes with different network
 * configurations never overlap. `drop`: keys to delete in the same transaction. A reservation, which is a key
 * without a lease, stays one.
 */
export function writeHolding(
  layout: Layout,
  state: ClusterState,
  holding: Holding,
  drop: readonly KeyValue[],
  lease: string,
): Transaction {
  const keys = keysOf(layout, holding);
  const compare: Compare[] = [unchanged(layout.config, state)];
  const success: Operation[] = [];
  for (const [key, value] of keys) {
    compare.push(unchanged(key, state));
    const held = state.leases.lease(key);
    const reserved = held?.kv.lease === '0' && !namesNobody(held);
    success.push(reserved ? { op: 'put', key, value } : { op: 'put', key, value, lease });
  }
  for (const { key, lease: leased } of drop) {
    if (keys.has(key) || leased === '0') continue;
    compare.push(unchanged(key, state));
    success.push({ op: 'delete', key });
  }
  return { compare, success };
}

/**
 * Throws LEASE_LOST when another agent has taken this node's record, or another node its subnets. A lease
 * rewritten with one of our addresses (manually, or by flannel on this machine) is still ours; a missing one
 * is ours to restore. `addresses`: all addresses this node has published under the holding.
 */
export function checkHolding(
  state: ClusterState,
  { self, subnets, instance }: Holding,
  addresses: ReadonlySet<Ip>,
): void {
  const record = state.leases.record(self.name)?.record;
  if (record && record.instance !== instance) {
    const where = Object.values(record.addresses).join(', ');
    throw lost(self.name, `an agent at ${where} now has this node's name`);
  }
  for (const fact of state.facts()) {
    if (fact.kind === 'family' && fact.kv.value !== self.name && subnets.includes(fact.subnet)) {
      throw lost(fact.subnet, `node ${fact.kv.value} now holds it`);
    }
    if (fact.kind !== 'lease' || !overlap(fact.subnets, subnets)) continue;
    const holders = Object.values(fact.value?.addresses ?? {});
    if (holders.some((ip) => addresses.has(ip))) continue;
    // A value that names nobody is damaged, and ours to restore.
    if (holders.length === 0 && isDeepStrictEqual(fact.subnets, subnets)) continue;
    throw lost(fact.kv.key, `${holders.join(', ') || 'a reservation'} now holds it`);
  }
}

function overlap(some: readonly Cidr[], others: readonly Cidr[]): boolean {
  return some.some((a) => others.some((b) => overlaps(a, b)));
}

/** Whether both have the same address in any family. */
export function sharesAddress(
  { addresses }: Pick<NodeFacts, 'addresses'>,
  others: NodeFacts['addresses'],
): boolean {
  return FAMILIES.some((family) => addresses[family] !== undefined && addresses[family] === others[family]);
}

function lost(object: string, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'LEASE_LOST', operation: 'lease hold', object });
}

/** Whether a key is as it was when the state was read. */
export function unchanged(key: string, state: ClusterState): Compare {
  return { key, target: 'modRevision', equals: state.item(key)?.modRevision ?? 0 };
}
