import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import { type Node, perFamily, type Self, type Underlay } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { AgentOptions } from './options.ts';

export type Publishable = {
  readonly network: Network;
  readonly underlay: Underlay;
  readonly tunnelMacs: Self['tunnelMacs'];
  readonly subnets: readonly Cidr[];
  readonly resources: Resources;
  /** As in `Self`. */
  readonly companion?: unknown;
};

/** Computes this node as its peers see it, from the agent's options and the facts. Throws CONFIG_INVALID. */
export function publishedNode(
  options: Pick<AgentOptions, 'node' | 'labels' | 'publicIp' | 'publicIpv6'>,
  { network, underlay, tunnelMacs, subnets, resources, companion }: Publishable,
): Node {
  const configured = { 4: options.publicIp, 6: options.publicIpv6 };
  // flannel's etcd lease always has a PublicIP; it identifies leases by the IPv4 one.
  const addresses = perFamily((family) =>
    network.pools[family] || family === 4 ? (configured[family] ?? underlay.addresses[family]) : undefined,
  );
  // Behind NAT, nodes of the same network see the interface's own address.
  const own = [...Object.values(underlay.addresses), ...(underlay.senders ?? [])];
  const senders = own.filter((ip) => addresses[familyOf(ip)] !== undefined && addresses[familyOf(ip)] !== ip);
  const plain: Node = {
    name: options.node,
    labels: options.labels,
    addresses,
    ...(senders.length > 0 && { senders }),
    subnets,
    backend: { type: network.backend.type, data: {} },
  };
  const { backend, options: settings } = configuredBackend(network, resources);
  const self: Self = { node: plain, underlay, tunnelMacs, ...(companion !== undefined && { companion }) };
  const data = perFamily((family) => network.pools[family] && backend.data(self, settings, family));
  return { ...plain, backend: { type: backend.type, data } };
}
