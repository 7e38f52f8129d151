import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Encapsulation, Resources } from '../cluster/resources.ts';
import { BITS, type Family } from '../ip/address.ts';
import { type Cidr, contains, lengthOf } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import type { RouteItem } from '../state/kinds/route.ts';
import { OUR_LOCAL_PROTOCOL } from '../state/ownership.ts';
import type { Backend, Carrier, PeerItems } from './backend.ts';
import {
  IPIP_DEVICE,
  IPIP_OVERHEAD,
  IPIP_PROTOCOL,
  ipipDevice,
  ipipMember,
  ipipTable,
  requiresIpip,
  type TunnelFacts,
} from './bgp-tunnel.ts';
import { isOnLink, subnetsOf } from './direct.ts';

export type BgpOptions = {
  /** How packets for pods of each pool leave the node. */
  readonly pools: readonly { readonly cidr: Cidr; readonly ipipMode: Encapsulation }[];
  /**
   * `bird`: BIRD alone installs the routes to peers' pods. `agent`: the agent also installs routes to whole
   * blocks, which don't depend on a BGP session; BIRD's routes, with a higher metric, back them up.
   */
  readonly routes: 'bird' | 'agent';
  /** TCP ports used for BGP with this node. */
  readonly ports: readonly number[];
};

/** BFD, single-hop and multihop (RFC 5881, 5883). */
const BFD_PORTS = [3784, 4784];

/** Ahead of BIRD's 32: the kernel gives an IPv6 route without a metric 1024, and an IPv4 route 0. */
const METRIC_V6 = 16;

/**
 * Calico's data path: every node advertises its blocks by BGP. The routes to the peers' blocks come from
 * BIRD, which sends them through `tunl0` if a pool requires IPIP; this file provides what those routes need.
 */
export const bgp: Backend<BgpOptions, TunnelFacts> = {
  type: 'bgp',
  options: readOptions,
  overhead: (self, options, family) => (hasTunnel(self, options, family) ? IPIP_OVERHEAD : 0),
  data: () => undefined,
  decapsulates: () => ({ protocols: [IPIP_PROTOCOL] }),
  nodePorts: ({ ports }) => ({ tcp: ports, udp: BFD_PORTS }),
  device: (self, options, family) =>
    hasTunnel(self, options, family) ? [...ipipDevice(self), ...ipipTable()] : [],
  member: (self, node, options, family) => (hasTunnel(self, options, family) ? ipipMember(node) : []),
  peer,
  path: (self, node, options, family) => ({ carrier: carrierTo(self, node, options, family) }),
};

function readOptions(fields: Fields, { ipPools, bgpConfiguration, bgpPeers }: Resources): BgpOptions {
  const routes = fields.string('routes')?.toLowerCase() || 'bird';
  if (routes !== 'bird' && routes !== 'agent') {
    throw fields.invalid('routes', `must be bird or agent, not '${routes}'`);
  }
  // The default pool's, read with the plan.
  fields.has('ipipMode');
  const ports = new Set([179, bgpConfiguration.listenPort, ...bgpPeers.map(({ port }) => port ?? 179)]);
  return {
    routes,
    pools: ipPools.map(({ cidr, ipipMode }) => ({ cidr, ipipMode })),
    ports: [...ports].sort((a, b) => a - b),
  };
}

/**
 * Whether the tunnel is needed. The device, the table and the smaller MTU go together: a pod's packets must
 * fit into the tunnel as long as any route may use it.
 */
function hasTunnel(self: Self<TunnelFacts>, { pools }: BgpOptions, family: Family): boolean {
  return family === 4 && (self.companion?.onlyReceives === true || requiresIpip(pools));
}

function peer(self: Self<TunnelFacts>, node: Node, options: BgpOptions, family: Family): PeerItems {
  const via = node.addresses[family];
  if (options.routes === 'bird') return { items: [] };
  if (via === undefined) return { items: [], warning: `has no public IPv${family} address` };
  const near = isOnLink(self, via);
  const items = subnetsOf(node, family).flatMap((dst): Item[] => {
    // A block of one address may be lent to a third node, which only BGP knows.
    if (lengthOf(dst) === BITS[family]) return [];
    // BIRD does not learn routes of this protocol: only the peer itself advertises its blocks.
    const route: RouteItem = {
      kind: 'route',
      type: 'unicast',
      dst,
      via,
      protocol: OUR_LOCAL_PROTOCOL,
      ...(family === 6 && { metric: METRIC_V6 }),
    };
    if (usesTunnel(self, dst, near, options)) {
      return [{ ...route, dev: IPIP_DEVICE, onlink: true }];
    }
    // Beyond a router, only BGP knows the route.
    return near ? [{ ...route, dev: self.underlay.dev }] : [];
  });
  return { items };
}

/** Whether packets to a block leave in the tunnel. `near`: its node is on a network of the underlay. */
function usesTunnel(
  { companion }: Self<TunnelFacts>,
  block: Cidr,
  near: boolean,
  { pools }: BgpOptions,
): boolean {
  const asked = pools.find(({ cidr }) => contains(cidr, block))?.ipipMode ?? 'Never';
  const mode = companion?.onlyReceives ? 'Never' : asked;
  return mode === 'Always' || (mode === 'CrossSubnet' && !near);
}

function carrierTo(self: Self<TunnelFacts>, node: Node, options: BgpOptions, family: Family): Carrier {
  const via = node.addresses[family];
  const near = via !== undefined && isOnLink(self, via);
  const isTunnelled = subnetsOf(node, family).some((block) => usesTunnel(self, block, near, options));
  return isTunnelled ? { protocol: IPIP_PROTOCOL } : 'routes';
}
