import type { Node } from '../../cluster/node.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import type { Route } from '../../linux/route.ts';

/** Where a route leads, and its MTU. */
type Way = {
  readonly family: Family;
  /** Bytes, the route's own (RTAX_MTU). */
  readonly mtu: number | undefined;
  /** Interface indexes. */
  readonly devices: readonly number[];
};

/** MTUs of an interface, in bytes. */
export type DeviceMtu = {
  readonly mtu: number;
  /** The same for IPv6: a router may have announced less (RFC 4861 §4.6.4). */
  readonly mtu6: number;
};

/** Undefined when the route leads nowhere, or to this host itself. */
function wayOf({ dst, type, mtu, dev, nexthops }: Route): Way | undefined {
  if (type !== 'unicast') return undefined;
  const devices = dev === undefined ? (nexthops ?? []).map((nexthop) => nexthop.dev) : [dev];
  return { family: familyOf(addressOf(dst)), mtu, devices };
}

/**
 * The largest packet, in bytes, that fits this way: the route's own MTU, but no more than each of its
 * devices carries. Undefined when a device is not among those given: it has gone, or belongs to the pod
 * network, which is no way to a node.
 */
function wayMtu(way: Way, devices: ReadonlyMap<number, DeviceMtu>): number | undefined {
  let least = way.mtu ?? Number.POSITIVE_INFINITY;
  for (const index of way.devices) {
    const device = devices.get(index);
    if (!device) return undefined;
    least = Math.min(least, way.family === 4 ? device.mtu : device.mtu6);
  }
  return Number.isFinite(least) ? least : undefined;
}

/**
 * The ways to the peers, as remembered. What may be back in a moment still counts: a peer without a route
 * keeps its last one, and a peer that left counts until `forget`. Raising the MTU is never urgent, and
 * packets that are too large would be lost.
 */
export class PeerWays {
  #peers: ReadonlySet<Ip> = new Set();
  readonly #ways = new Map<Ip, Way>();

  /** The underlay addresses of all nodes except `self`. */
  get peers(): readonly Ip[] {
    return [...this.#peers];
  }

  /** Returns the addresses that are new. */
  setPeers(nodes: readonly Node[], self: string): readonly Ip[] {
    const before = this.#peers;
    const peers = new Set<Ip>();
    for (const { name, addresses } of nodes) {
      if (name !== self) for (const ip of Object.values(addresses)) peers.add(ip);
    }
    this.#peers = peers;
    return [...peers].filter((ip) => !before.has(ip));
  }

  /** `route`: what the kernel finds for that peer now; undefined for none. */
  learn(peer: Ip, route: Route | undefined): void {
    const way = route && wayOf(route);
    if (way) this.#ways.set(peer, way);
  }

  /** Peers that have left no longer count. */
  forget(): void {
    for (const peer of this.#ways.keys()) if (!this.#peers.has(peer)) this.#ways.delete(peer);
  }

  /** The peer behind the narrowest way; undefined when there is a way to none. */
  narrowest(
    devices: ReadonlyMap<number, DeviceMtu>,
  ): { readonly peer: Ip; readonly mtu: number } | undefined {
    let found: { peer: Ip; mtu: number } | undefined;
    for (const [peer, way] of this.#ways) {
      const mtu = wayMtu(way, devices);
      if (mtu !== undefined && mtu < (found?.mtu ?? Number.POSITIVE_INFINITY)) found = { peer, mtu };
    }
    return found;
  }
}
