import type { LocalPod } from '../cluster/node.ts';
import { prefixed } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { forwardingItems } from './forwarding.ts';
import { DEVICE_PREFIX, deviceSysctls, GATEWAY, HOST_MAC, podAlias, podRoutes } from './pod-device.ts';
import type { Wiring, WiringFacts } from './wiring.ts';

/** Each pod has a point-to-point link to its node, which routes for it: no bridge, no shared network. */
export const routed: Wiring = {
  name: 'routed',
  podDevice: `${DEVICE_PREFIX}00000000000`,
  holdsSubnets: false,
  node: nodeItems,
  pod: podItems,
};

function nodeItems({ self, families }: WiringFacts): readonly Item[] {
  return families.flatMap((family) => forwardingItems(self, family));
}

/** The host's end of a pod's veth, and the routes to the pod. */
function podItems(pod: LocalPod, { families, mtu }: WiringFacts): readonly Item[] {
  const dev = pod.hostDevice;
  if (dev === undefined) return [];
  const items: Item[] = [
    {
      kind: 'link',
      name: dev,
      link: { type: 'existing' },
      up: true,
      mtu,
      mac: HOST_MAC,
      alias: podAlias(pod),
      entries: 'kernel',
    },
    ...deviceSysctls(dev, families, pod).map(([path, value]): Item => ({ kind: 'sysctl', path, value })),
  ];
  if (families.includes(6)) items.push({ kind: 'address', dev, address: prefixed(GATEWAY[6], 64) });
  for (const route of podRoutes(pod)) items.push({ kind: 'route', type: 'unicast', dev, ...route });
  return items;
}
