import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Node, Self, Underlay } from '../cluster/node.ts';
import { FAMILIES, type Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { AgentOptions } from './options.ts';

/** This node as its peers will see it: pure, from what the agent was told and what it found. */
export function publishedNode(
  options: Pick<AgentOptions, 'node' | 'labels' | 'publicIp' | 'publicIpv6'>,
  network: Network,
  underlay: Underlay,
  subnets: readonly Cidr[],
): Node {
  const told = { 4: options.publicIp, 6: options.publicIpv6 };
  const used = FAMILIES.filter((family) => network.pools[family] !== undefined);
  // flannel's etcd lease always has a PublicIP; IPv4 is what it compares leases by.
  const addresses = Object.fromEntries(
    FAMILIES.flatMap((family): [number, Ip][] => {
      const address = (told[family] as Ip | undefined) ?? underlay.addresses[family];
      return address && (used.includes(family) || family === 4) ? [[family, address]] : [];
    }),
  );
  const plain: Node = {
    name: options.node,
    labels: options.labels,
    addresses,
    subnets,
    backend: { type: network.backend.type, data: {} },
  };
  const { backend, options: settings } = configuredBackend(network);
  const self: Self = { node: plain, underlay };
  const data = Object.fromEntries(
    used.flatMap((family) => {
      const value = backend.data(self, settings, family);
      return value === undefined ? [] : [[family, value]];
    }),
  );
  return { ...plain, backend: { type: backend.type, data } };
}
