import type { Node } from '../../cluster/node.ts';
import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import type { Route } from '../../linux/route.ts';

/** A route's devices and MTU. */
type Path = {
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
function pathOf({ dst, type, mtu, dev, nexthops }: Route): Path | undefined {
  if (type !== 'unicast') return undefined;
  const devices = dev === undefined ? (nexthops ?? []).map((nexthop) => nexthop.dev) : [dev];
  return { family: familyOf(addressOf(dst)), mtu, devices };
}

/**
 * Returns the MTU of a path in bytes: the minimum of the route's own MTU and those of its devices. Undefined
 * when a device is unknown: it has disappeared, or belongs to the pod network, which is not a path to a node.
 */
function pathMtu(path: Path, devices: ReadonlyMap<number, DeviceMtu>): number | undefined {
  let least = path.mtu ?? Number.POSITIVE_INFINITY;
  for (const index of path.devices) {
    const device = devices.get(index);
    if (!device) return undefined;
    least = Math.min(least, path.family === 4 ? device.mtu : device.mtu6);
  }
  return Number.isFinite(least) ? least : undefined;
}

/**
 * Remembers the paths to the peers. Gaps may be brief, so a peer without a route keeps its last path, and a
 * peer that left counts until `forget`: raising the MTU is never urgent, and oversized packets would be lost.
 */
export class PeerPaths {
  #peers: ReadonlySet<Ip> = new Set();
  readonly #paths = new Map<Ip, Path>();

  /** The peers' underlay addresses. */
  get peers(): readonly Ip[] {
    return [...this.#peers];
  }

  /** Sets the peers: all nodes except `self`. Returns the added addresses. */
  setPeers(nodes: readonly Node[], self: string): readonly Ip[] {
    const before = this.#peers;
    const peers = new Set<Ip>();
    for (const { name, addresses } of nodes) {
      if (name !== self) for (const ip of Object.values(addresses)) peers.add(ip);
    }
    this.#peers = peers;
    return [...peers].filter((ip) => !before.has(ip));
  }

  /** Records the kernel's current route to a peer; undefined for none. */
  learn(peer: Ip, route: Route | undefined): void {
    const path = route && pathOf(route);
    if (path) this.#paths.set(peer, path);
  }

  /** Forgets peers that have left. */
  forget(): void {
    for (const peer of this.#paths.keys()) if (!this.#peers.has(peer)) this.#paths.delete(peer);
  }

  /** Returns the peer behind the narrowest path; undefined when no path is known. */
  narrowest(
    devices: ReadonlyMap<number, DeviceMtu>,
  ): { readonly peer: Ip; readonly mtu: number } | undefined {
    let found: { peer: Ip; mtu: number } | undefined;
    for (const [peer, path] of this.#paths) {
      const mtu = pathMtu(path, devices);
      if (mtu !== undefined && mtu < (found?.mtu ?? Number.POSITIVE_INFINITY)) found = { peer, mtu };
    }
    return found;
  }
}
