import type { Network } from '../../cluster/network.ts';
import type { NodeFacts, PerFamily } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf } from '../../ip/address.ts';
import { type Cidr, overlaps } from '../../ip/cidr.ts';
import { chooseSubnet, compatible } from '../../ipam/subnets.ts';
import type { ClusterState } from './cluster-state.ts';
import type { Lease } from './facts.ts';
import { sharesAddress } from './holding.ts';

/** The subnets a node should have, and the leases it holds now: those under other keys are to be released. */
export type Choice = { readonly subnets: readonly Cidr[]; readonly held: readonly Lease[] };

/**
 * Chooses this node's subnets, one for each family that both network and node have: one it already holds and
 * that still suits the configuration, else `previous` if free, else a free one at random. None where
 * addresses are blocks. Throws OUT_OF_SUBNETS; CONFIG_INVALID when the node has no address in any family of
 * the network.
 */
export function chooseSubnets(
  state: ClusterState,
  network: Network,
  self: NodeFacts,
  previous: PerFamily<Cidr>,
  random: () => number,
): Choice {
  const held = leasesOf(state, self, previous);
  const families = FAMILIES.filter((family) => network.pools[family] && self.addresses[family] !== undefined);
  if (families.length === 0) throw noAddress(network);
  if (network.addresses === 'blocks') return { subnets: [], held };
  const taken = takenByOthers(state, self, held);
  const isFree = (subnet: Cidr): boolean => !taken.some((other) => overlaps(other, subnet));
  const subnets: Cidr[] = [];
  for (const family of families) {
    const pool = network.pools[family];
    if (!pool) continue;
    const asked = [
      ...held.flatMap((lease) => lease.subnets),
      ...(previous[family] ? [previous[family]] : []),
    ];
    const kept = asked.find((subnet) => compatible(pool, subnet) && isFree(subnet));
    const subnet = kept ?? chooseSubnet(pool, taken, random);
    if (!subnet) throw outOfSubnets(family, pool.cidr, taken.length);
    subnets.push(subnet);
  }
  return { subnets, held };
}

/**
 * This node's leases, best first: the one its record names, whatever the node's address now, unless somebody
 * else's address is in it; then those with its public address that no other node's record claims. A lease at
 * our address under another name is ours only if it is the subnet we had: then this machine was renamed.
 * Otherwise DHCP gave us the address of a machine that is away.
 */
function leasesOf(state: ClusterState, self: NodeFacts, previous: PerFamily<Cidr>): Lease[] {
  const held = new Map<string, Lease>();
  const recorded = state.leases.leaseOf(self.name);
  const before = state.leases.record(self.name)?.record.addresses ?? {};
  if (recorded?.value && sharesAddress({ addresses: before }, recorded.value.addresses))
    held.set(recorded.kv.key, recorded);
  for (const lease of FAMILIES.flatMap((family) => leasesAt(state, self, family))) {
    const owner = state.leases.ownerOf(lease.kv.key);
    const unnamed = owner === undefined || owner === self.name || !state.leases.record(owner);
    const had = lease.subnets.some((subnet) => previous[familyOf(subnet)] === subnet);
    if (unnamed || had) held.set(lease.kv.key, lease);
  }
  return [...held.values()];
}

/** flannel tells nodes apart by their IPv4 addresses; IPv6 decides only among nodes without one. */
function leasesAt(state: ClusterState, self: NodeFacts, family: Family): Lease[] {
  const address = self.addresses[family];
  if (address === undefined) return [];
  const leases = state.leases.leasesAt(address).sort((a, b) => a.kv.createRevision - b.kv.createRevision);
  if (family === 4) return leases;
  return leases.filter(({ value }) => value?.addresses[4] === undefined || self.addresses[4] === undefined);
}

/** Every subnet that somebody else holds or has reserved, even if the lease's value cannot be read. */
function takenByOthers(state: ClusterState, self: NodeFacts, held: readonly Lease[]): Cidr[] {
  const mine = new Set(held.map(({ kv }) => kv.key));
  const taken: Cidr[] = [];
  for (const fact of state.facts()) {
    if (fact.kind === 'lease' && !mine.has(fact.kv.key)) taken.push(...fact.subnets);
    const isOthers = fact.kind === 'family' && fact.kv.value !== self.name;
    if (isOthers && !held.some(({ subnets }) => subnets.includes(fact.subnet))) taken.push(fact.subnet);
  }
  return taken;
}

function outOfSubnets(family: Family, pool: Cidr, taken: number): FlatnetError {
  return new FlatnetError(`no free IPv${family} subnet is left, ${taken} are taken`, {
    code: 'OUT_OF_SUBNETS',
    operation: 'lease acquire',
    object: pool,
    fix: 'enlarge Network, raise SubnetLen or delete leases of nodes that are gone',
  });
}

function noAddress(network: Network): FlatnetError {
  const families = Object.keys(network.pools).map((family) => `IPv${family}`);
  return new FlatnetError(`this node has no ${families.join(' or ')} address`, {
    code: 'CONFIG_INVALID',
    operation: 'lease acquire',
    fix: 'give the underlay interface one, or name another interface',
  });
}
