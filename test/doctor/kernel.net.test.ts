import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { kernelFindings } from '../../src/doctor/kernel.ts';

const skip = process.geteuid?.() === 0 || process.env.CI ? false : 'needs root';

test('interfaces of the network’s wiring, and nftables, are tried', { skip }, () => {
  const network = readNetwork({ Network: '172.30.0.0/16', wiring: 'macvlan' });
  assert.deepEqual(
    kernelFindings(network).map(({ state, what }) => `${state} ${what}`),
    ['ok veth devices', 'ok macvlan devices', 'ok nftables'],
  );
});
