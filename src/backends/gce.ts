import type { Backend } from './backend.ts';

/**
 * Google's own routers carry the packets: each node has a route to its subnet in the VPC network, which is
 * the companion's. Its kernel needs nothing but the default route.
 */
export const gce: Backend<undefined> = {
  type: 'gce',
  // flannel's nodes with this backend published no name.
  alsoNamed: [''],
  options: () => undefined,
  overhead: () => 0,
  refuses: (_self, _options, family) =>
    family === 6 ? 'the backend gce makes routes for IPv4 only; use another for IPv6' : undefined,
  data: () => undefined,
  device: () => [],
  peer: () => ({ items: [] }),
};
