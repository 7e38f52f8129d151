import { configuredBackend } from '../../backends/registry.ts';
import { collect, decode } from '../../cluster/calico/decode.ts';
import { defaultPools } from '../../cluster/calico/default-pools.ts';
import type { Network } from '../../cluster/network.ts';
import type { Self } from '../../cluster/node.ts';
import type { Resources } from '../../cluster/resources.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { FAMILIES, parseIp } from '../../ip/address.ts';
import { cidrOf } from '../../ip/cidr.ts';
import { parseMac } from '../../ip/mac.ts';
import { type LinkSpec, linkAdd } from '../../linux/link/change.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { createNetns, deleteNetns } from '../../linux/netns.ts';
import type { LinkType } from '../../state/link-types/link-type.ts';
import { type CreatedLink, linkTypeOf } from '../../state/link-types/registry.ts';

/** Alternatives to each feature. */
const INSTEAD: Readonly<Record<string, string>> = {
  vxlan: '--backend host-gw',
  ipip: '--preset calico-bgp',
};

/**
 * Creates one device of each kind that the lab needs, in a temporary namespace. Throws KERNEL_FEATURE naming
 * the kind that the kernel lacks, or the capability that this process lacks.
 */
export function requireKernel(network: Network, lab: string): void {
  const specs: LinkSpec[] = [
    { name: 'bridge0', data: { kind: 'bridge' } },
    { name: 'veth0', data: { kind: 'veth', peer: { name: 'veth1' } } },
    ...tunnelTypes(network).map(({ type, sample }) => ({ name: `${type}0`, data: sample })),
  ];
  // The name makes it part of the lab: `down` removes it if this process is killed.
  const probe = `${lab}.probe`;
  const netns = attempt(() => createNetns(probe), 'network namespaces', 'boot a kernel that supports them');
  try {
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    for (const spec of specs) {
      const { kind } = spec.data;
      const instead = INSTEAD[kind];
      const fix = `try: modprobe ${kind}; ${
        instead ? `or do without it: ${instead}` : 'minimal kernels ship it in a package of extra modules'
      }`;
      attempt(() => socket.executeSync(linkAdd(spec)), `${kind} devices`, fix);
    }
  } finally {
    deleteNetns(probe);
  }
}

/** The types of tunnel that the nodes of this network make for one another. */
export function tunnelTypes(network: Network): readonly LinkType<CreatedLink>[] {
  const { backend, options } = configuredBackend(network, initialResources(network));
  const self = sampleNode(network);
  const links = FAMILIES.flatMap((family) => {
    const cidr = network.pools[family]?.cidr;
    return cidr === undefined ? [] : backend.device(self, options, family, cidr);
  }).flatMap((item) => (item.kind === 'link' && item.link.type !== 'existing' ? [item.link] : []));
  return [...new Set(links.map(linkTypeOf))];
}

/** What the agents of a new network find in the store: the pools that they create themselves. */
function initialResources(network: Network): Resources {
  const pools = network.addresses === 'blocks' ? defaultPools(network) : [];
  return collect(pools.map((document) => decode(document)));
}

/** Any node of a lab, with the first subnets of the network. */
function sampleNode({ pools }: Network): Self {
  const subnets = Object.values(pools).map((pool) => cidrOf(pool.subnetMin, pool.subnetLength));
  const addresses = { 4: parseIp('172.30.0.11'), 6: parseIp('fd77::11') };
  return {
    node: { name: 'node1', subnets, addresses, labels: {}, backend: { type: '', data: {} } },
    underlay: { dev: 'eth0', mtu: 1500, addresses, onLink: [] },
    tunnelMacs: { 4: parseMac('02:00:00:00:00:04'), 6: parseMac('02:00:00:00:00:06') },
  };
}

const FORBIDDEN = ['EPERM', 'EACCES'];
const UNKNOWN = ['EOPNOTSUPP', 'ENOSYS', 'EINVAL'];

function attempt<T>(make: () => T, feature: string, fix: string): T {
  try {
    return make();
  } catch (error) {
    const errno = error instanceof FlatnetError ? (error.errno ?? '') : '';
    if (FORBIDDEN.includes(errno)) {
      throw new FlatnetError(`root may not create ${feature} here: ${messageOf(error)}`, {
        code: 'KERNEL_FEATURE',
        fix: 'run it with CAP_SYS_ADMIN and CAP_NET_ADMIN, e.g. in a privileged container',
        cause: error,
      });
    }
    if (!UNKNOWN.includes(errno)) throw error;
    throw new FlatnetError(`this kernel has no ${feature}: ${messageOf(error)}`, {
      code: 'KERNEL_FEATURE',
      fix,
      cause: error,
    });
  }
}
