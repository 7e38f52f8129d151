import { FlatnetError, messageOf } from '../error.ts';
import { parseIp } from '../ip/address.ts';
import { type LinkSpec, linkAdd } from '../linux/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { createNetns, deleteNetns } from '../linux/netns.ts';

const VXLAN: LinkSpec = {
  name: 'vxlan0',
  data: { kind: 'vxlan', id: 1, local: parseIp('127.0.0.1'), port: 8472 },
};

/**
 * Makes one device of each kind the lab needs, in a namespace of its own. Throws KERNEL_FEATURE naming the
 * one that the kernel does not have, or the right that this process does not have.
 */
export function requireKernel(backend: string, lab: string): void {
  const specs: LinkSpec[] = [
    { name: 'bridge0', data: { kind: 'bridge' } },
    { name: 'veth0', data: { kind: 'veth', peer: { name: 'veth1' } } },
    ...(backend === 'vxlan' ? [VXLAN] : []),
  ];
  // By its name a part of the lab: `down` removes it when this process is killed in the middle.
  const probe = `${lab}.probe`;
  const netns = attempt(() => createNetns(probe), 'network namespaces', 'start a kernel that has them');
  try {
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    for (const spec of specs) {
      const { kind } = spec.data;
      const fix =
        kind === 'vxlan'
          ? 'try: modprobe vxlan; or do without it: --backend host-gw'
          : `try: modprobe ${kind}; minimal kernels have it in a package of extra modules`;
      attempt(() => socket.executeSync(linkAdd(spec)), `${kind} devices`, fix);
    }
  } finally {
    deleteNetns(probe);
  }
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
