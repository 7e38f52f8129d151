import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Encapsulation, Resources } from '../cluster/resources.ts';
import { type Family, familyOf } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import type { Item, RouteItem } from '../state/item.ts';
import { OUR_LOCAL_PROTOCOL } from '../state/ownership.ts';
import type { Backend, PeerItems } from './backend.ts';
import { isOnLink, subnetsOf } from './direct.ts';
import { IPIP_DEVICE, IPIP_OVERHEAD, ipipDevice, ipipTable } from './ipip.ts';

export type BgpOptions = {
  /** How packets for pods of each pool leave the node. */
  readonly pools: readonly { readonly cidr: Cidr; readonly ipipMode: Encapsulation }[];
  /**
   * `bird`: the routes to peers' pods are those that BIRD learns. `agent`: besides, the agent sets them itself for whole blocks, so that
   * they do not depend on a BGP session; BIRD's, of metric 32, stand behind them.
   */
  readonly routes: 'bird' | 'agent';
};

/**
 * Calico's data path: every node advertises its blocks by BGP. The routes to the peers' blocks come from BIRD, which sends them through
 * `tunl0` where a pool asks for IPIP; here is what those routes need.
 */
export const bgp: Backend<BgpOptions> = {
  type: 'bgp',
  options: readOptions,
  overhead: (options, family) => (usesIpip(options, family) ? IPIP_OVERHEAD : 0),
  data: () => undefined,
  device: (self, options, family) => (usesIpip(options, family) ? ipipDevice(self) : []),
  cluster: (peers, options, family) => (usesIpip(options, family) ? ipipTable(peers) : []),
  peer,
};

function readOptions(fields: Fields, { ipPools }: Resources): BgpOptions {
  const routes = fields.string('routes')?.toLowerCase() || 'bird';
  if (routes !== 'bird' && routes !== 'agent') {
    throw fields.invalid('routes', `must be bird or agent, not '${routes}'`);
  }
  return { routes, pools: ipPools.map(({ cidr, ipipMode }) => ({ cidr, ipipMode })) };
}

/** Also by pools that are disabled: the pods that have addresses of them stay. */
function usesIpip({ pools }: BgpOptions, family: Family): boolean {
  return family === 4 && pools.some(({ cidr, ipipMode }) => familyOf(cidr) === 4 && ipipMode !== 'Never');
}

function peer(self: Self, node: Node, options: BgpOptions, family: Family): PeerItems {
  const via = node.addresses[family];
  if (options.routes === 'bird') return { items: [] };
  if (via === undefined) return { items: [], warning: `has no public IPv${family} address` };
  const near = isOnLink(self, via);
  const items = subnetsOf(node, family).flatMap((dst): Item[] => {
    const mode = options.pools.find(({ cidr }) => contains(cidr, dst))?.ipipMode ?? 'Never';
    // Of a kind that BIRD does not learn: what a peer has is the peer's to advertise.
    const route: RouteItem = { kind: 'route', type: 'unicast', dst, via, protocol: OUR_LOCAL_PROTOCOL };
    if (mode === 'Always' || (mode === 'CrossSubnet' && !near)) {
      return [{ ...route, dev: IPIP_DEVICE, onlink: true }];
    }
    // Behind a router only BGP knows the way.
    return near ? [{ ...route, dev: self.underlay.dev }] : [];
  });
  return { items };
}
