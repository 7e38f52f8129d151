import type { Network } from '../cluster/network.ts';
import { type LocalPod, podTitle } from '../cluster/node.ts';
import type { IpPool } from '../cluster/resources.ts';
import { contains } from '../ip/cidr.ts';
import type { Problem } from '../problem.ts';

/** Warns of pods whose pool has been deleted. Without any pools, that is all pods. */
export function strayPods(
  { addresses }: Pick<Network, 'addresses'>,
  { ipPools }: { readonly ipPools: readonly Pick<IpPool, 'cidr'>[] },
  pods: readonly LocalPod[],
): readonly Problem[] {
  if (addresses !== 'blocks') return [];
  const stray = pods.flatMap((pod) =>
    pod.addresses
      .filter((ip) => !ipPools.some(({ cidr }) => contains(cidr, ip)))
      .map((ip) => `${podTitle(pod)} (${ip})`),
  );
  if (stray.length === 0) return [];
  const shown = stray.length > 4 ? [...stray.slice(0, 4), `${stray.length - 4} more`] : stray;
  return [
    {
      id: 'pods-outside-pools',
      severity: 'warning',
      what: `addresses of pods are in no IPPool: ${shown.join(', ')}`,
      cause:
        'their traffic is not masqueraded, and pods of other pools reach them with their node’s address as source',
      fix: 'recreate the pods, or reapply the pool',
    },
  ];
}
