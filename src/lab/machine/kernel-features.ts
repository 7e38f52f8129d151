import { closeSync } from 'node:fs';
import type { Network } from '../../cluster/network.ts';
import { isPhysical } from '../../cluster/wiring.ts';
import { tunnelTypes } from '../../desired/tunnel-types.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { type LinkSpec, linkAdd } from '../../linux/link/change.ts';
import { moduleOf } from '../../linux/link/module.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { createNetns, deleteNetns, withNetns } from '../../linux/netns.ts';
import { openTun } from '../../linux/tun.ts';

/** An index that no other device of an empty namespace has. */
const VETH = 10;

/**
 * Creates one device of each kind that the lab needs, in a temporary namespace. Throws KERNEL_FEATURE naming
 * the kind that the kernel lacks, or the capability that this process lacks.
 */
export function requireKernel(network: Network, lab: string): void {
  const specs: LinkSpec[] = [
    { name: 'bridge0', data: { kind: 'bridge' } },
    { name: 'veth0', index: VETH, data: { kind: 'veth', peer: { name: 'veth1' } } },
    ...(isPhysical(network.wiring)
      ? [{ name: 'shared0', data: { kind: network.wiring, parent: VETH } } as const]
      : []),
    ...tunnelTypes(network).map(({ sample }, i) => ({ name: `tunnel${i}`, data: sample })),
  ];
  // The name makes it part of the lab: `down` removes it if this process is killed.
  const probe = `${lab}.probe`;
  const netns = attempt(() => createNetns(probe), 'network namespaces', 'boot a kernel that supports them');
  try {
    if (network.backend.type === 'udp') {
      const fix = 'try: modprobe tun; or do without it: --backend vxlan';
      attempt(() => withNetns(netns, () => closeSync(openTun('tunnel'))), 'TUN devices', fix);
    }
    using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    for (const spec of specs) {
      const { kind } = spec.data;
      const isTunnel = spec.name.startsWith('tunnel');
      const fix = `try: modprobe ${moduleOf(kind)}; ${
        isTunnel
          ? `or do without it: ${instead(network)}`
          : 'minimal kernels ship it in a package of extra modules'
      }`;
      attempt(() => socket.executeSync(linkAdd(spec)), `${kind} devices`, fix);
    }
  } finally {
    deleteNetns(probe);
  }
}

/** What carries packets without that tunnel. */
function instead({ backend }: Network): string {
  if (backend.type === 'bgp') return '--preset calico-bgp';
  return `--backend ${backend.type === 'vxlan' || backend.type === 'vxlan-md' ? 'host-gw' : 'vxlan'}`;
}

const FORBIDDEN = ['EPERM', 'EACCES'];
const UNKNOWN = ['EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENOENT', 'ENODEV'];

function attempt<T>(make: () => T, feature: string, fix: string): T {
  try {
    return make();
  } catch (error) {
    // Node's own errors have the errno as their code.
    const errno = (error instanceof FlatnetError ? error.errno : codeOf(error)) ?? '';
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
