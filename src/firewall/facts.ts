import type { Network } from '../cluster/network.ts';
import type { PerFamily, Underlay } from '../cluster/node.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { carriedFamilies } from '../state/kinds/link.ts';
import { wiringOf } from '../wiring/registry.ts';

/** What decides whether a firewall forwards pods' packets. */
export type ForwardFacts = {
  /** What pods have addresses of. */
  readonly networks: readonly Cidr[];
  /** The device a pod's packet comes in by. */
  readonly podDevice: string;
  /** The device by which it leaves for another node. */
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
  return { networks, podDevice: wiringOf(wiring).podDevice, outDevice };
}
