import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../../src/cluster/network.ts';
import { splitWarning } from '../../../src/lab/bgp/topology.ts';
import { withBackend, withPreset } from '../../../src/lab/network.ts';

const NETWORK = { Network: '10.244.0.0/16' };
const preset = (name: 'flannel' | 'calico' | 'calico-bgp') => readNetwork(withPreset(name, NETWORK));

test('a lab whose pods of different subnets have no way to one another is warned of, with what to add', () => {
  const bgp = splitWarning({ network: preset('calico-bgp'), nodes: 4, subnets: 2 });
  assert.match(bgp ?? '', /bgp without tunnels .*; add --tor, or use --preset calico/);
  const plain = readNetwork(withBackend('host-gw', NETWORK));
  assert.match(
    splitWarning({ network: plain, nodes: 2, subnets: 2 }) ?? '',
    /; use one subnet, or --backend vxlan/,
  );
});

test('no warning with tunnels, top-of-rack routers, one subnet or one node', () => {
  for (const name of ['flannel', 'calico'] as const) {
    assert.equal(splitWarning({ network: preset(name), nodes: 4, subnets: 2 }), undefined, name);
  }
  const network = preset('calico-bgp');
  assert.equal(splitWarning({ network, nodes: 4, subnets: 2, bgp: { tor: 'bird' } }), undefined);
  assert.equal(splitWarning({ network, nodes: 4, subnets: 1 }), undefined);
  assert.equal(splitWarning({ network, nodes: 1, subnets: 2 }), undefined);
});
