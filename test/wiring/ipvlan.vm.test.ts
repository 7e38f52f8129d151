import { test } from 'node:test';
import { NO_DNSMASQ } from '../dhcp/dnsmasq.ts';
import { declinesTaken } from '../dhcp/taken.ts';
import { podsReachAll } from './physical-pods.ts';

for (const mode of ['l2', 'l3', 'l3s'] as const) {
  test(`ipvlan, ${mode}: pods reach all, and all reach pods`, { timeout: 300_000 }, () =>
    podsReachAll({ wiring: 'ipvlan', mode }),
  );
}

// Here, where there is ipvlan, as starting takes an emulated machine longer than the test.
test(
  'ipvlan with DHCP: an address that somebody uses is declined, though only the parent hears of it',
  {
    skip: NO_DNSMASQ,
    timeout: 300_000,
  },
  () => declinesTaken({ wiring: 'ipvlan', mode: 'l2', gateways: {} }),
);
