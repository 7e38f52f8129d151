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

/** The two ends make it a device of its own: without any it would be `tunl0`, which comes with the module. */
const IPIP: LinkSpec = {
  name: 'ipip0',
  data: { kind: 'ipip', local: parseIp('127.0.0.1'), remote: parseIp('127.0.0.2') },
};

/** What to do without it. */
const INSTEAD: Readonly<Record<string, string>> = {
  vxlan: '--backend host-gw',
  ipip: '--preset calico-bgp',
};

/**
 * Makes one device of each kind the lab needs, in a namespace of its own. Throws KERNEL_FEATURE naming the
 * one that the kernel does not have, or the right that this process does not have.
 */
export function requireKernel(network: Network, lab: string): void {
  const { type } = network.backend;
  const specs: LinkSpec[] = [
    { name: 'bridge0', data: { kind: 'bridge' } },
    { name: 'veth0', data: { kind: 'veth', peer: { name: 'veth1' } } },
    ...(type === 'vxlan' ? [VXLAN] : []),
    ...(type === 'bgp' && usesIpip(network) ? [IPIP] : []),
  ];
  // By its name a part of the lab: `down` removes it when this process is killed in the middle.
  const probe = `${lab}.probe`;
  const netns = attempt(() => createNetns(probe), 'network namespaces', 'start a kernel that has them');
  try {
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    for (const spec of specs) {
      const { kind } = spec.data;
      const instead = INSTEAD[kind];
      const fix = `try: modprobe ${kind}; ${
        instead ? `or do without it: ${instead}` : 'minimal kernels have it in a package of extra modules'
      }`;
      attempt(() => socket.executeSync(linkAdd(spec)), `${kind} devices`, fix);
    }
  } finally {
    deleteNetns(probe);
  }
}

/** As the pools that the agents make of this network say. */
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
      throw new FlatnetError(`root may not make ${feature} here: ${messageOf(error)}`, {
        code: 'KERNEL_FEATURE',
        fix: 'run it where CAP_SYS_ADMIN and CAP_NET_ADMIN are given, such as in a privileged container',
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
