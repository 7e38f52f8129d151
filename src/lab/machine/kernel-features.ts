import { defaultPools } from '../../cluster/calico/default-pools.ts';
import type { Network } from '../../cluster/network.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { parseIp } from '../../ip/address.ts';
import { type LinkSpec, linkAdd } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { createNetns, deleteNetns } from '../../linux/netns.ts';

const VXLAN: LinkSpec = {
  name: 'vxlan0',
  data: { kind: 'vxlan', id: 1, local: parseIp('127.0.0.1'), port: 8472 },
};

/** Its endpoints distinguish it from `tunl0`, which the module creates without any. */
const IPIP: LinkSpec = {
  name: 'ipip0',
  data: { kind: 'ipip', local: parseIp('127.0.0.1'), remote: parseIp('127.0.0.2') },
};

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
  const { type } = network.backend;
  const specs: LinkSpec[] = [
    { name: 'bridge0', data: { kind: 'bridge' } },
    { name: 'veth0', data: { kind: 'veth', peer: { name: 'veth1' } } },
    ...(type === 'vxlan' ? [VXLAN] : []),
    ...(type === 'bgp' && usesIpip(network) ? [IPIP] : []),
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

/** Whether the pools that the agents create from this network use IPIP. */
export function usesIpip(network: Network): boolean {
  return (
    network.addresses === 'blocks' && defaultPools(network).some(({ spec }) => spec.ipipMode !== 'Never')
  );
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
