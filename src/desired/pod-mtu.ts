import { IPV6_LEAST_MTU, innerMtu } from '../backends/inner-mtu.ts';
import type { Configured } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import type { Parent } from '../cluster/parent.ts';
import { FAMILIES, type Family } from '../ip/address.ts';

/**
 * Returns the underlay MTU minus the largest overhead of the families in use: a dual-stack pod has one MTU.
 * Never less than IPv6 requires: a pod would lose its addresses for good, whereas IPv4 discovers a smaller
 * path MTU. `parent`: the interface that pods share, where they are on a physical network.
 */
export function podMtu(network: Network, self: Self, configured: Configured, parent?: Parent): number {
  const used = FAMILIES.filter((family) => network.pools[family]);
  const mtu =
    // The path to other nodes is not that of pods.
    parent && parent.dev !== self.underlay.dev
      ? parent.mtu
      : Math.min(...used.map((family) => familyMtu(self, configured, family)));
  return network.pools[6] ? Math.max(mtu, IPV6_LEAST_MTU) : mtu;
}

/** Returns the underlay MTU minus the backend's overhead in this family. */
export function familyMtu(self: Self, { backend, options }: Configured, family: Family): number {
  const mtu = backend.underlayMtu?.(options);
  return innerMtu(
    mtu === undefined ? self.underlay : { mtu },
    backend.overhead(self, options, family),
    family,
  );
}
