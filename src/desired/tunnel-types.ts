import { configuredBackend } from '../backends/registry.ts';
import { collect, decode } from '../cluster/calico/decode.ts';
import { defaultPools } from '../cluster/calico/default-pools.ts';
import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { FAMILIES, parseIp } from '../ip/address.ts';
import { cidrOf } from '../ip/cidr.ts';
import { parseMac } from '../ip/mac.ts';
import type { LinkType } from '../state/link-types/link-type.ts';
import { type CreatedLink, linkTypeOf } from '../state/link-types/registry.ts';

/** The types of tunnel that the nodes of this network make for one another. */
export function tunnelTypes(network: Network): readonly LinkType<CreatedLink>[] {
  const { backend, options } = configuredBackend(network, initialResources(network));
  const self = sampleNode(network);
  const links = FAMILIES.flatMap((family) => {
    const cidr = network.pools[family]?.cidr;
    return cidr === undefined ? [] : backend.device(self, options, family, cidr);
  }).flatMap((item) => (item.kind === 'link' && item.link.type !== 'existing' ? [item.link] : []));
  return [...new Set(links.map(linkTypeOf))].filter(({ isMadeByProgram }) => !isMadeByProgram);
}

/** What the agents of a new network find in the store: the pools that they create themselves. */
function initialResources(network: Network): Resources {
  const pools = network.addresses === 'blocks' ? defaultPools(network) : [];
  return collect(pools.map((document) => decode(document)));
}

/** Any node, with the first subnets of the network. */
function sampleNode({ pools }: Network): Self {
  const subnets = Object.values(pools).map((pool) => cidrOf(pool.subnetMin, pool.subnetLength));
  const addresses = { 4: parseIp('172.30.0.11'), 6: parseIp('fd77::11') };
  return {
    node: { name: 'node1', subnets, addresses, labels: {}, backend: { type: '', data: {} } },
    underlay: { dev: 'eth0', mtu: 1500, addresses, onLink: [] },
    tunnelMacs: sampleMacs,
  };
}

/** Stand for a node's own where it does not matter which they are. */
export const sampleMacs: Self['tunnelMacs'] = {
  4: parseMac('02:00:00:00:00:04'),
  6: parseMac('02:00:00:00:00:06'),
};
