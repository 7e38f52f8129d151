import { FlatnetError } from '../../../error.ts';
import type { HandlersOf } from '../../companion.ts';
import { type Bgp, type BgpStatus, bgpRoutes, bgpStatus, type ShownRoute } from './status.ts';

/** The local API's operations on BGP. */
export type BirdOperations = {
  readonly 'bgp-status': BgpStatus;
  /** With an optional `peer`: an address, or a node's name. */
  readonly 'bgp-routes': { readonly routes: readonly ShownRoute[] };
};

/** `bgp` returns the running BGP; undefined on a node without it. */
export function bgpHandlers(bgp: () => Bgp | undefined): HandlersOf<BirdOperations> {
  const running = (): Bgp => {
    const now = bgp();
    if (now) return now;
    throw new FlatnetError('this node does not run BGP', {
      code: 'NOT_FOUND',
      fix: 'use a network with backend type bgp',
    });
  };
  return {
    'bgp-status': async () => bgpStatus(running()),
    'bgp-routes': async ({ peer }) => {
      const name = peer === undefined ? undefined : String(peer);
      const routes = await bgpRoutes(running(), name);
      if (routes) return { routes };
      throw new FlatnetError('is not a BGP peer of this node', {
        code: 'NOT_FOUND',
        object: name ?? '',
        fix: 'see flatnet bgp status',
      });
    },
  };
}
