import type { Network } from '../../cluster/network.ts';
import type { NodeFacts, PerFamily } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf } from '../../ip/address.ts';
import { type Cidr, overlaps } from '../../ip/cidr.ts';
import { chooseSubnet, compatible } from '../../ipam/subnets.ts';
import type { ClusterState } from './cluster-state.ts';
import { type Lease, namesNobody } from './facts.ts';
import { sharesAddress } from './holding.ts';

/** The subnets a node should have, and the leases it holds now; those under other keys are to be released. */
export type Choice = { readonly subnets: readonly Cidr[]; readonly held: readonly Lease[] };

/**
 * Chooses this node's subnets, one for each family that both network and node have: one it already holds
 * that still fits the configuration, else `previous` if free, else a random free one. Only under the `lease`
 * plan. Throws OUT_OF_SUBNETS; CONFIG_INVALID when the node has no address in any family of the network.
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
  if (network.addresses !== 'lease') return { subnets: [], held };
  const taken = takenByOthers(state, self, held);
  const isFree = (subnet: Cidr): boolean => !taken.some((other) => overlaps(other, subnet));
  const subnets: Cidr[] = [];
  for (const family of families) {
    const pool = network.pools[family];
    if (!pool) continue;
    const candidates = [
      ...held.flatMap((lease) => lease.subnets),
      ...(previous[family] ? [previous[family]] : []),
    ];
    const kept = candidates.find((subnet) => compatible(pool, subnet) && isFree(subnet));
    const subnet = kept ?? chooseSubnet(pool, taken, random);
    if (!subnet) throw outOfSubnets(family, pool.cidr, taken.length);
    subnets.push(subnet);
  }
  return { subnets, held };
}

/**
 * Returns this node's leases, best first: the one its record names, whatever the node's address now, unless
 * it contains another node's address; then those with its public address that no other node's record claims.
 * A lease at our address under another name is ours only if it has our previous subnet: the machine was
 * renamed. Otherwise DHCP gave us the address of a machine that is currently down.
 */
function leasesOf(state: ClusterState, self: NodeFacts, previous: PerFamily<Cidr>): Lease[] {
  const held = new Map<string, Lease>();
  const recorded = state.leases.leaseOf(self.name);
  const before = state.leases.record(self.name)?.record.addresses ?? {};
  // A damaged value names nobody: the record alone says whose the lease is.
  if (
    recorded &&
    (namesNobody(recorded) || sharesAddress({ addresses: before }, recorded.value?.addresses ?? {}))
  )
    held.set(recorded.kv.key, recorded);
  for (const lease of FAMILIES.flatMap((family) => leasesAt(state, self, family))) {
    const owner = state.leases.ownerOf(lease.kv.key);
    const isUnclaimed = owner === undefined || owner === self.name || !state.leases.record(owner);
    const isPrevious = lease.subnets.some((subnet) => previous[familyOf(subnet)] === subnet);
    if (isUnclaimed || isPrevious) held.set(lease.kv.key, lease);
  }
  return [...held.values()];
}

/** flannel identifies nodes by IPv4 address; IPv6 counts only if one of the two has no IPv4 address. */
function leasesAt(state: ClusterState, self: NodeFacts, family: Family): Lease[] {
  const address = self.addresses[family];
  if (address === undefined) return [];
  const leases = state.leases.leasesAt(address).sort((a, b) => a.kv.createRevision - b.kv.createRevision);
  if (family === 4) return leases;
  return leases.filter(({ value }) => value?.addresses[4] === undefined || self.addresses[4] === undefined);
}

/** Returns every subnet held or reserved by others, even if the lease's value is unreadable. */
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
  return new FlatnetError(`no free IPv${family} subnet is left; ${taken} are taken`, {
    code: 'OUT_OF_SUBNETS',
    operation: 'lease acquire',
    object: pool,
    fix: 'enlarge Network, raise SubnetLen or delete leases of removed nodes',
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
