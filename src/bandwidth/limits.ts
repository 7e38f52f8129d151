import type { Rate } from '../cluster/bandwidth.ts';
import type { LocalPod } from '../cluster/node.ts';
import { fnv64 } from '../ip/fnv.ts';
import type { Item } from '../state/item.ts';

/** How long packets beyond the rate may wait, in seconds: the reference plugin's latency. */
const LATENCY = 0.025;
const MAX_U32 = 0xffffffff;

/**
 * What limits a pod's bandwidth, on the node's side of its veth. What the pod receives, the node sends into
 * the veth, through a token bucket. What it sends, the node receives: there the kernel could only drop, so it
 * passes an ifb device first, which has a token bucket.
 */
export function bandwidthItems({ hostDevice: dev, bandwidth = {} }: LocalPod): readonly Item[] {
  const { ingress, egress } = bandwidth;
  const items: Item[] = [];
  if (ingress) items.push(bucket(dev, ingress));
  if (egress) {
    const ifb = ifbName(dev);
    items.push(
      {
        kind: 'link',
        name: ifb,
        link: { type: 'ifb' },
        up: true,
        alias: `flatnet ${dev}`,
        entries: 'kernel',
      },
      { kind: 'sysctl', path: `net/ipv6/conf/${ifb}/disable_ipv6`, value: '1' },
      bucket(ifb, egress),
      { kind: 'qdisc', dev, qdisc: { type: 'ingress' } },
      { kind: 'redirect', dev, to: ifb },
    );
  }
  return items;
}

/** The same for one device, wherever its name comes from: 15 characters. */
function ifbName(dev: string): string {
  return `ifb-${fnv64(dev, 1).toString(16).padStart(16, '0').slice(0, 11)}`;
}

function bucket(dev: string, { rate, burst }: Rate): Item {
  const limit = Math.min(Math.round(rate * LATENCY) + burst, MAX_U32);
  return { kind: 'qdisc', dev, qdisc: { type: 'tbf', rate, burst, limit } };
}
