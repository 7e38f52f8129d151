import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Facts } from '../../src/agent/facts.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';
import { newFacts, view } from './new-facts.ts';

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
