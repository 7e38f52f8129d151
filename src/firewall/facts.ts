import type { Network } from '../cluster/network.ts';
import type { PerFamily, Underlay } from '../cluster/node.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { carriedFamilies } from '../state/kinds/link/item.ts';
import { wiringOf } from '../wiring/registry.ts';

/** The facts that decide whether a firewall forwards pods' packets. */
export type ForwardFacts = {
  /** The pods' networks. */
  readonly networks: readonly Cidr[];
  /** The input device of a pod's packets. */
  readonly podDevice: string;
  /** The output device of packets to other nodes. */
  readonly outDevice: PerFamily<string>;
};

/** Derives the facts from what the agent knows. */
export function forwardFacts(
  networks: readonly Cidr[],
  { wiring }: Network,
  { dev, addresses }: Underlay,
  items: readonly Item[],
): ForwardFacts {
  const outDevice: { [F in Family]?: string } = {};
  for (const family of FAMILIES) if (addresses[family] !== undefined) outDevice[family] = dev;
  for (const item of items) {
    if (item.kind !== 'link') continue;
    for (const family of carriedFamilies(item)) outDevice[family] = item.name;
  }
  const { podDevice } = wiringOf(wiring);
  // Nobody forwards packets of pods on a physical network.
  return podDevice === undefined
    ? { networks: [], podDevice: '', outDevice }
    : { networks, podDevice, outDevice };
}
