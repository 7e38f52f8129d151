import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import { tunnelTypes } from '../../src/desired/tunnel-types.ts';
import { withPreset } from '../../src/lab/network.ts';

test('the types of device to try on this kernel are those that the network’s nodes will make', () => {
  const Network = '10.244.0.0/16';
  const both = { Network, EnableIPv6: true, IPv6Network: 'fd00:244::/56' };
  const types = (conf: unknown): string[] => tunnelTypes(readNetwork(conf)).map(({ type }) => type);
  assert.deepEqual(types({ Network }), ['vxlan']);
  assert.deepEqual(types(both), ['vxlan']);
  assert.deepEqual(types({ Network, Backend: { Type: 'host-gw' } }), []);
  assert.deepEqual(types({ Network, wiring: 'routed', Backend: { Type: 'bgp' } }), []);
  assert.deepEqual(types(withPreset('calico', both)), ['ipip']);
  assert.deepEqual(types(withPreset('calico-bgp', both)), []);
});
