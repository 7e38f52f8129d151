import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../src/cluster/calico/decode.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { bgpResources } from '../../src/lab/bgp/plan.ts';
import { torBird, torFrr } from '../../src/lab/bgp/tor-config.ts';
import { PRESET_NAMES, withBackend, withPreset } from '../../src/lab/network.ts';
import type { LabNode } from '../../src/lab/record/topology.ts';

const POOL = { Network: '10.1.0.0/16' };

test('a preset completes a configuration, however its keys are spelled', () => {
  const network = readNetwork(withPreset('calico', { ...POOL, WIRING: 'routed', backend: { TYPE: 'BGP' } }));
  assert.deepEqual(
    [network.addresses, network.wiring, network.backend],
    ['blocks', 'routed', { type: 'bgp', options: { ipipMode: 'Always' } }],
  );
  assert.equal(readNetwork(withPreset('calico-bgp', POOL)).backend.options.ipipMode, 'Never');
  const leased = readNetwork(withPreset('flannel', withBackend('host-gw', POOL)));
  assert.deepEqual([leased.addresses, leased.wiring, leased.backend.type], ['lease', 'bridge', 'host-gw']);
  for (const name of PRESET_NAMES) assert.doesNotThrow(() => readNetwork(withPreset(name, POOL)));
});

test('a field that contradicts the preset is named', () => {
  const refused = (
    name: (typeof PRESET_NAMES)[number],
    more: Record<string, unknown>,
    object: string,
  ): void => assert.throws(() => withPreset(name, { ...POOL, ...more }), { code: 'CONFIG_INVALID', object });
  refused('flannel', { addresses: 'blocks' }, 'addresses');
  refused('calico', { wiring: 'bridge' }, 'wiring');
  refused('calico', { Backend: { Type: 'vxlan' } }, 'Backend.Type');
  refused('calico-bgp', { Backend: { ipipmode: 'Always' } }, 'Backend.ipipMode');
  refused('calico', withBackend('vxlan', POOL), 'Backend.Type');
});

test('another backend drops the old one’s options; the same backend keeps them', () => {
  const written = { ...POOL, BACKEND: { type: 'vxlan', VNI: 7 } };
  assert.deepEqual(withBackend('host-gw', written), { ...POOL, Backend: { Type: 'host-gw' } });
  assert.equal(readNetwork(withBackend('VXLAN', written)).backend.options.VNI, 7);
});

const NODES: LabNode[] = [
  { name: 'node1', index: 1, subnet: 0 },
  { name: 'node2', index: 2, subnet: 1 },
  { name: 'node3', index: 3, subnet: 0 },
];

test('a topology’s resources are valid, and the mesh is turned off last', () => {
  assert.deepEqual(bgpResources({}, NODES, 1, [4]), []);
  for (const topology of [{ reflectors: 2 }, { tor: 'bird' }] as const) {
    const documents = bgpResources(topology, NODES, 2, [4, 6]);
    for (const document of documents) decode(document);
    assert.equal(documents.at(-1)?.kind, 'BGPConfiguration');
    assert.ok(documents.some(({ kind }) => kind === 'BGPPeer'));
  }
  const reflectors = bgpResources({ reflectors: 2 }, NODES, 1, [4]).filter(({ kind }) => kind === 'Node');
  assert.deepEqual(
    reflectors.map(({ metadata }) => metadata.name),
    ['node1', 'node2'],
  );
});

test('a rack’s router peers with its own nodes and with the other routers', () => {
  const rack = { rack: 0, racks: 2, nodes: NODES, families: [4, 6] } as const;
  const bird = torBird(rack, '/tmp/log');
  for (const peer of ['172.30.0.11 as 64600', '172.30.0.13', 'fd77::13', '172.30.254.2 as 65001']) {
    assert.ok(bird.includes(`neighbor ${peer}`), peer);
  }
  assert.ok(!bird.includes('172.30.1.12'), 'a node of another rack');
  const frr = torFrr(rack);
  assert.match(frr, /^router bgp 65000$/m);
  assert.match(frr, /neighbor 172\.30\.254\.2 remote-as 65001/);
});
