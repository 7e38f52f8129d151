import { IPV6_LEAST_MTU, innerMtu } from '../backends/inner-mtu.ts';
import type { Configured } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import { FAMILIES, type Family } from '../ip/address.ts';

/**
 * Underlay MTU less the largest overhead of the families in use: one MTU serves a pod with both. But no less
 * than IPv6 asks for: a pod would lose its addresses for good, while IPv4 finds the way's smaller MTU by
 * itself.
 */
export function podMtu(network: Network, self: Self, configured: Configured): number {
  const used = FAMILIES.filter((family) => network.pools[family]);
  const mtu = Math.min(...used.map((family) => familyMtu(self, configured, family)));
  return network.pools[6] ? Math.max(mtu, IPV6_LEAST_MTU) : mtu;
}

/** What the backend leaves of the underlay MTU for a packet of the family. */
export function familyMtu(self: Self, { backend, options }: Configured, family: Family): number {
  const mtu = backend.underlayMtu?.(options);
  return innerMtu(
    mtu === undefined ? self.underlay : { mtu },
    backend.overhead(self, options, family),
    family,
  );
}
