import type { Rate } from '../cluster/bandwidth.ts';
import type { LocalPod } from '../cluster/node.ts';
import { fnv64 } from '../ip/fnv.ts';
import type { Item } from '../state/item.ts';

/** How long packets beyond the rate may wait, in seconds: the reference plugin's latency. */
const LATENCY = 0.025;
const MAX_U32 = 0xffffffff;
/** A packet counts with its Ethernet header. */
const ETHERNET_HEADER = 14;
/** The kernel shows a burst as its duration at the rate, in 32 bits of 64 ns: 274 s. */
const LONGEST_BURST = 270;

/**
 * The least burst with which packets of this MTU pass: a token bucket drops what is larger than itself
 * (tbf_enqueue).
 */
export function leastBurst({ rate }: Pick<Rate, 'rate'>, mtu: number): number {
  return Math.min(mtu + ETHERNET_HEADER, LONGEST_BURST * rate);
}

/**
 * What limits a pod's bandwidth, on the node's side of its veth. What the pod receives, the node sends into
 * the veth, through a token bucket. What it sends, the node receives: there the kernel could only drop, so it
 * passes an ifb device first, which has a token bucket. `mtu`: the largest that its interface may have, in
 * bytes.
 */
export function bandwidthItems({ hostDevice: dev, bandwidth = {} }: LocalPod, mtu: number): readonly Item[] {
  const { ingress, egress } = bandwidth;
  if (dev === undefined) return [];
  const items: Item[] = [];
  if (ingress) items.push(bucket(dev, ingress, mtu));
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
      bucket(ifb, egress, mtu),
      { kind: 'qdisc', dev, qdisc: { type: 'ingress' } },
      { kind: 'redirect', dev, to: ifb },
    );
  }
  return items;
}

/** The same for one device, wherever its name comes from: 15 characters. */
function ifbName(dev: string): string {
  const { high, low } = fnv64(dev, 1);
  const hex = [high, low].map((half) => half.toString(16).padStart(8, '0')).join('');
  return `ifb-${hex.slice(0, 11)}`;
}

function bucket(dev: string, { rate, burst: wanted }: Rate, mtu: number): Item {
  const burst = Math.max(wanted, leastBurst({ rate }, mtu));
  const limit = Math.min(Math.round(rate * LATENCY) + burst, MAX_U32);
  return { kind: 'qdisc', dev, qdisc: { type: 'tbf', rate, burst, limit } };
}
