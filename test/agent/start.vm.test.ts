import { test } from 'node:test';
import { CANNOT } from '../lab/host.ts';
import { startsLoseNothing } from './starts.ts';

/** Each end of an agent once; an emulated machine is slow. */
const STARTS = 5;

const CALICO = {
  Network: '10.244.0.0/16',
  addresses: 'blocks',
  wiring: 'routed',
  Backend: { Type: 'bgp', ipipMode: 'Always' },
};

test(`${STARTS} starts of agents lose nothing in IPIP`, { skip: CANNOT, timeout: 600_000 }, (t) =>
  startsLoseNothing(t, CALICO, STARTS),
);
