import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import { type Node, perFamily, type Self, type Underlay } from '../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { AgentOptions } from './options.ts';

/** This node as its peers will see it: pure, from what the agent was told and what it found. */
export function publishedNode(
  options: Pick<AgentOptions, 'node' | 'labels' | 'publicIp' | 'publicIpv6'>,
  network: Network,
  underlay: Underlay,
  subnets: readonly Cidr[],
  resources: Resources = NO_RESOURCES,
): Node {
  const told = { 4: options.publicIp, 6: options.publicIpv6 };
  // flannel's etcd lease always has a PublicIP; IPv4 is what it compares leases by.
  const addresses = perFamily((family) =>
    network.pools[family] || family === 4 ? (told[family] ?? underlay.addresses[family]) : undefined,
  );
  const plain: Node = {
    name: options.node,
    labels: options.labels,
    addresses,
    subnets,
    backend: { type: network.backend.type, data: {} },
  };
  const { backend, options: settings } = configuredBackend(network, resources);
  const self: Self = { node: plain, underlay };
  const data = perFamily((family) => network.pools[family] && backend.data(self, settings, family));
  return { ...plain, backend: { type: backend.type, data } };
}
