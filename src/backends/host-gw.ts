import type { Node, Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Backend, PeerItems } from './backend.ts';
import { directRoutes, isOnLink, towards } from './direct.ts';

/** Plain routes via the peers' own addresses: no overhead, but all nodes must share a network. */
export const hostGw: Backend<undefined> = {
  type: 'host-gw',
  options: () => undefined,
  overhead: () => 0,
  refuses,
  data: () => undefined,
  device: () => [],
  peer,
  path: (self, node, _options, family) => {
    const via = node.addresses[family];
    return via !== undefined && isOnLink(self, via) ? { carrier: 'routes' } : undefined;
  },
};

function refuses(self: Self, _options: undefined, family: Family): string | undefined {
  const published = self.node.addresses[family];
  if (published === undefined || published === self.underlay.addresses[family]) return undefined;
  return (
    `peers know this node as ${published}, which is not the address of ${self.underlay.dev}, so there is NAT between them: ` +
    'host-gw needs peers on the same network; use vxlan'
  );
}

function peer(self: Self, node: Node, _options: undefined, family: Family): PeerItems {
  return towards(node, family, (subnets, via) => {
    if (isOnLink(self, via)) return { items: directRoutes(self, subnets, via) };
    return {
      items: [],
      warning:
        `its address ${via} is not on a network of ${self.underlay.dev}: host-gw cannot reach it; ` +
        'use vxlan with DirectRouting',
    };
  });
}
