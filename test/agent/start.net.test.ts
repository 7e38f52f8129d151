import { describe, test } from 'node:test';
import { NO_KERNEL } from '../state/namespace.ts';
import { NETWORKS } from './networks.ts';
import { startsLoseNothing } from './starts.ts';

/** One for each backend and wiring. */
const CONFIGURATIONS = {
  'host-gw, bridge': NETWORKS['host-gw'],
  'vxlan dual stack, bridge': NETWORKS['vxlan dual stack'],
  'vxlan, routed': { ...NETWORKS.vxlan, wiring: 'routed' },
  'bgp, blocks, routed': {
    Network: '10.244.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp', ipipMode: 'Never' },
  },
};

/** Each end on each node. */
const STARTS = 10;

// Run concurrently, so that their waits overlap.
describe(`${STARTS} starts of agents lose nothing`, { concurrency: true, skip: NO_KERNEL }, () => {
  for (const [name, conf] of Object.entries(CONFIGURATIONS))
    test(name, { timeout: 300_000 }, (t) => startsLoseNothing(t, conf, STARTS));
});
