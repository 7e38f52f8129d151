import { FAMILIES, type Ip } from '../ip/address.ts';
import { type Cidr, contains, hostCidr, overlaps } from '../ip/cidr.ts';
import type { Host, HostNetwork } from './host.ts';
import type { Network } from './network.ts';
import type { Node } from './node.ts';
import type { Physical } from './physical.ts';
import type { Resources } from './resources.ts';
import { serviceNetworks } from './service-networks.ts';

/** Two uses of the same addresses. */
export type Overlap = { readonly cidr: Cidr; readonly other: Cidr; readonly use: string };

/** The facts that an overlap is judged by. `subnets`: this node's own. */
export type OverlapFacts = {
  readonly host: Host;
  readonly network: Network;
  readonly resources: Resources;
  readonly nodes: readonly Node[];
  readonly subnets: readonly Cidr[];
};

/**
 * Returns a network that pods' addresses come from and that the host, or the cluster's Services, use as well.
 * A wider route is none: pods' routes are more specific, as corporate ones like 10.0.0.0/8 expect. Nor is
 * a route to pods, whoever learnt it.
 */
export function overlapWithHost(facts: OverlapFacts): Overlap | undefined {
  const { host, network, resources, nodes, subnets } = facts;
  if (network.physical) return overlapOnPhysical(facts, network.physical);
  // Rarely asked: mostly the host uses nothing of the pods'.
  const isMember = (ip: Ip): boolean =>
    nodes.some(({ addresses }) => addresses[4] === ip || addresses[6] === ip);
  const isToPods = ({ cidr, isConnected, isBridge, unsignedVia }: HostNetwork): boolean => {
    if (isConnected) return (isBridge ?? false) && subnets.some((subnet) => contains(subnet, cidr));
    if (unsignedVia !== undefined && isMember(unsignedVia)) return true;
    return nodes.some((node) => node.subnets.some((subnet) => contains(subnet, cidr)));
  };
  for (const pool of podPools(network, resources)) {
    const taken = host.networks.find(
      (other) =>
        (other.isConnected ? overlaps(pool, other.cidr) : contains(pool, other.cidr)) && !isToPods(other),
    );
    if (taken) return { cidr: pool, other: taken.cidr, use: taken.use };
    const services = serviceNetworks(network, resources).find((other) => overlaps(pool, other));
    if (services) return { cidr: pool, other: services, use: 'a network of Services' };
  }
  return undefined;
}

/**
 * Returns one of this node's subnets that has an address of somebody else's: on a physical network, pods live
 * beside nodes and routers.
 */
function overlapOnPhysical(
  { host, network, resources, nodes, subnets }: OverlapFacts,
  { gateways }: Physical,
): Overlap | undefined {
  const taken = [
    ...host.addresses.map((ip) => ({ ip, use: 'an address of this host' })),
    ...[...(host.gateways ?? []), ...Object.values(gateways)].map((ip) => ({ ip, use: 'a gateway' })),
    ...nodes.flatMap(({ name, addresses }) =>
      Object.values(addresses).map((ip) => ({ ip, use: `the address of node ${name}` })),
    ),
  ];
  for (const cidr of subnets) {
    const found = taken.find(({ ip }) => contains(cidr, ip));
    if (found) return { cidr, other: hostCidr(found.ip), use: found.use };
    const services = serviceNetworks(network, resources).find((other) => overlaps(cidr, other));
    if (services) return { cidr, other: services, use: 'a network of Services' };
  }
  return undefined;
}

/** Returns what the host uses of a node's subnet; undefined if nothing. */
export function takenByHost({ networks }: Host, subnet: Cidr): HostNetwork | undefined {
  return networks.find(({ cidr, isConnected }) => isConnected && overlaps(cidr, subnet));
}

/**
 * The networks that are for pods alone. A disabled pool gives out none: it may describe the nodes' own
 * network, to exempt it from NAT. A physical network is everybody's.
 */
export function podPools(network: Network, resources: Resources): readonly Cidr[] {
  if (network.physical) return [];
  if (network.addresses === 'blocks')
    return resources.ipPools.filter(({ disabled }) => !disabled).map(({ cidr }) => cidr);
  return FAMILIES.flatMap((family) => network.pools[family]?.cidr ?? []);
}
