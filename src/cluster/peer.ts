import { FAMILIES, type Family, familyOf } from '../ip/address.ts';
import { type Cidr, contains, overlaps } from '../ip/cidr.ts';
import { NO_HOST } from './host.ts';
import { type Node, perFamily, type Self } from './node.ts';
import { takenByHost } from './overlap.ts';

/** Whether two nodes publish one address: each would take the other's packets (flannel#1129). */
export function sharesAddress({ node }: Self, peer: Node, family: Family): boolean {
  const address = peer.addresses[family];
  return address !== undefined && address === node.addresses[family];
}

/** Why packets to a peer's public address would not leave this node for it. `pools`: the networks of pods. */
export function wrongAddress(
  { node, underlay, host = NO_HOST }: Self,
  peer: Node,
  family: Family,
  pools: readonly Cidr[],
): string | undefined {
  const address = peer.addresses[family];
  if (address === undefined) return undefined;
  const own = [node.addresses[family], underlay.addresses[family], ...host.addresses];
  if (own.includes(address)) return `its address ${address} is this node's own`;
  const pool = pools.find((cidr) => contains(cidr, address));
  return pool && `its address ${address} is in a network of pods, ${pool}`;
}

/** What a peer's subnet would take away. */
export function takenSubnet({ node, underlay, host = NO_HOST }: Self, subnet: Cidr): string | undefined {
  const ours = node.subnets.find((each) => overlaps(each, subnet));
  if (ours !== undefined) return ours === subnet ? "this node's own" : `${ours}, this node's own`;
  const taken = takenByHost(host, subnet);
  if (taken) return `${taken.cidr}, ${taken.use}`;
  const near = underlay.onLink.find((each) => overlaps(each, subnet));
  return near && `${near}, the network of ${underlay.dev}`;
}

/**
 * A peer without those addresses and subnets that would take something from this node. Anyone can claim
 * anything in the store; the desired state warns of it.
 */
export function harmlessPart(self: Self, peer: Node, pools: readonly Cidr[]): Node {
  const isHarmless = (family: Family): boolean =>
    !sharesAddress(self, peer, family) && wrongAddress(self, peer, family, pools) === undefined;
  const families = FAMILIES.filter(isHarmless);
  const subnets = peer.subnets.filter(
    (subnet) => families.includes(familyOf(subnet)) && takenSubnet(self, subnet) === undefined,
  );
  const addresses = perFamily((family) => (families.includes(family) ? peer.addresses[family] : undefined));
  return { ...peer, addresses, subnets };
}
