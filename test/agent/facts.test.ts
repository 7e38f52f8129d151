import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Facts } from '../../src/agent/facts.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { type IpPool, NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import type { ClusterView } from '../../src/store/ports/feed.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

function newFacts(): Facts {
  const store = { endpoints: [] };
  return new Facts(
    { node: 'node1', labels: {}, store, paths: DEFAULT_PATHS, logLevel: 'silent' },
    tunnelMacsOf('node1'),
    [],
  );
}

const POOL: IpPool = {
  name: 'pool',
  cidr: parseCidr('10.0.0.0/16'),
  blockSize: 26,
  ipipMode: 'Never',
  natOutgoing: true,
  disabled: false,
  disableBgpExport: false,
  nodeSelector: 'all()',
  assignmentMode: 'Automatic',
};

function view(...blocks: string[]): ClusterView {
  const network = readNetwork({
    Network: '10.0.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp' },
  });
  const node = { name: 'node1', labels: {}, addresses: {}, backend: { type: 'bgp', data: {} } };
  return {
    network,
    resources: { ...NO_RESOURCES, ipPools: [POOL] },
    nodes: [{ ...node, subnets: blocks.map(parseCidr) }],
  };
}

test('selectors see the labels that the store has for this node, such as those of its Node object', () => {
  const store = { endpoints: [] };
  const labels = { rack: 'a', role: 'agent' };
  const facts = new Facts(
    { node: 'node1', labels, store, paths: DEFAULT_PATHS, logLevel: 'silent' },
    tunnelMacsOf('node1'),
    [],
  );
  assert.deepEqual(facts.labels, labels);
  const { nodes, resources, ...rest } = view();
  const stored = { zone: 'z', role: 'stored', tier: 'stored' };
  facts.setCluster(
    {
      ...rest,
      resources: { ...resources, nodes: { node1: { name: 'node1', labels: { tier: 'resource' } } } },
      nodes: nodes.map((node) => ({ ...node, labels: stored })),
    },
    true,
  );
  assert.deepEqual(facts.labels, { rack: 'a', role: 'agent', zone: 'z', tier: 'resource' });
  assert.deepEqual(facts.cluster?.labels, facts.labels);
});

test('a node owns the blocks of its name only once it has joined: another machine may have the name', () => {
  const facts = newFacts();
  facts.setCluster(view('10.0.0.0/26'), true);
  assert.equal(facts.subnets, undefined);
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26']);
  facts.setCluster(view('10.0.0.0/26', '10.0.1.0/26'), true);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26', '10.0.1.0/26']);
  facts.loseSubnets('node2 has them');
  facts.setCluster(view('10.0.2.0/26'), true);
  assert.deepEqual(
    facts.subnets,
    ['10.0.0.0/26', '10.0.1.0/26'],
    'lost to another machine, which has these now',
  );
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.2.0/26']);
});

test('nothing is taken to be gone while this node’s own subnets are those it remembers', () => {
  const facts = newFacts();
  facts.setCluster(view(), false);
  facts.restoreSubnets([]);
  facts.setCluster(view('10.0.0.0/26'), true);
  assert.deepEqual(facts.subnets, [], 'the last view on disk was older than the block');
  assert.equal(facts.isComplete, false);
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26']);
  assert.equal(facts.isComplete, true);
});

test('a block outside every pool is a node’s only while a pod has an address in it', () => {
  const facts = newFacts();
  facts.setCluster(view('10.0.0.0/26', '8.8.8.0/26'), true);
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26']);
  assert.deepEqual(facts.strayBlocks, ['8.8.8.0/26']);
  facts.pods.add({
    containerId: 'c',
    ifName: 'eth0',
    labels: {},
    hostDevice: 'cali1',
    netns: '/n',
    addresses: [parseIp('8.8.8.7')],
  });
  facts.setCluster(view('10.0.0.0/26', '8.8.8.0/26'), true);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26', '8.8.8.0/26']);
  assert.deepEqual(facts.strayBlocks, []);
});

test('remembered subnets are used until the store confirms others', () => {
  const facts = newFacts();
  facts.setCluster(view('10.0.0.0/26'), false);
  facts.restoreSubnets(['10.0.0.0/26'].map(parseCidr));
  facts.setCluster(view('10.0.1.0/26'), true);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26']);
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.1.0/26']);
});

test('unchanged facts stay the same object', () => {
  const facts = newFacts();
  facts.setUnderlay({ dev: 'eth0', mtu: 1500, addresses: {}, onLink: [] });
  facts.setCluster(view('10.0.0.0/26'), true);
  facts.confirmSubnets([]);
  const { self, published } = facts;
  assert.ok(self && published);
  facts.setCluster(view('10.0.0.0/26'), true);
  facts.setCompanion({ address: '10.0.0.1' });
  facts.setCompanion(undefined);
  assert.equal(facts.published, published);
  assert.deepEqual(facts.self, self);
  facts.setCompanion({ address: '10.0.0.1' });
  assert.deepEqual(facts.self, { ...self, companion: { address: '10.0.0.1' } });
  const now = facts.self;
  facts.setCompanion({ address: '10.0.0.1' });
  assert.equal(facts.self, now);
});
