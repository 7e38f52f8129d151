import { type ExtensionOptions, hasText } from '../../backends/extension.ts';
import type { Network } from '../../cluster/network.ts';
import type { Node, Self } from '../../cluster/node.ts';
import { podPools } from '../../cluster/overlap.ts';
import { harmlessPart } from '../../cluster/peer.ts';
import type { Resources } from '../../cluster/resources.ts';
import { FAMILIES, familyOf } from '../../ip/address.ts';

/** What commands are told of a peer: flannel's lease. */
export type Lease = {
  readonly node: string;
  readonly variables: Readonly<Record<string, string>>;
  /** Of the peer's PreStartupCommand. */
  readonly data: string;
};

/** A lease, and what is to become of it. */
export type Wanted = {
  /** Undefined: it is gone. */
  readonly lease: Lease | undefined;
  readonly options: ExtensionOptions;
};

/**
 * The leases of a node's peers by what identifies them, which is their subnets, as in flannel: a peer that
 * gets others is one that leaves, and one that comes.
 */
export function leasesOf(
  self: Self,
  nodes: readonly Node[],
  network: Network,
  resources: Resources,
): ReadonlyMap<string, Lease> {
  const pools = podPools(network, resources);
  const leases = new Map<string, Lease>();
  for (const node of nodes) {
    if (node.name === self.node.name || node.backend.type !== 'extension') continue;
    if (!FAMILIES.every((family) => hasText(node, family))) continue;
    const variables = variablesOf(harmlessPart(self, node, pools), network);
    const { SUBNET, IPV6_SUBNET } = variables;
    const key = [SUBNET, IPV6_SUBNET].filter((subnet) => subnet !== undefined).join('&');
    if (key === '') continue;
    const data = node.backend.data[4] ?? node.backend.data[6] ?? '';
    leases.set(key.replaceAll('/', '-'), { node: node.name, variables, data: String(data) });
  }
  return leases;
}

/** What PostStartupCommand is told of its own node. */
export function ownVariables({ node }: Self, network: Network): Readonly<Record<string, string>> {
  const { 4: pool4, 6: pool6 } = network.pools;
  return {
    ...(pool4 && { NETWORK: pool4.cidr }),
    ...(pool6 && { IPV6_NETWORK: pool6.cidr }),
    ...variablesOf(node, network),
  };
}

/** Of the families in which the node has both. */
function variablesOf({ subnets, addresses }: Node, { pools }: Network): Record<string, string> {
  const [four, six] = FAMILIES.map((family) => {
    const subnet = subnets.find((each) => familyOf(each) === family);
    const address = addresses[family];
    if (!pools[family] || subnet === undefined || address === undefined) return undefined;
    return { subnet, address };
  });
  return {
    ...(four && { SUBNET: four.subnet, PUBLIC_IP: four.address }),
    ...(six && { IPV6_SUBNET: six.subnet, IPV6SUBNET: six.subnet, PUBLIC_IPV6: six.address }),
  };
}
