import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent } from '../../src/agent/agent.ts';
import { DEFAULT_PATHS } from '../../src/agent/options.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import type { ClusterView } from '../../src/store/ports/feed.ts';

/** One that does not know its underlay, and so leaves the kernel alone. */
function agent(): Agent {
  const options = {
    node: 'node1',
    labels: {},
    store: { endpoints: [] },
    paths: DEFAULT_PATHS,
    logLevel: 'silent',
  };
  return new Agent(options, [], SILENT, {
    onFacts: () => {},
    onReady: () => {},
    onSettled: () => {},
    onDevice: () => {},
    onForeignTable: () => {},
  });
}

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
    resources: NO_RESOURCES,
    nodes: [{ ...node, subnets: blocks.map(parseCidr) }],
  };
}

test('the blocks of its name are a node’s own only once it has joined: another machine may have the name', () => {
  using mine = agent();
  mine.clusterIs(view('10.0.0.0/26'), true);
  assert.deepEqual(mine.subnets, []);
  mine.subnetsAre([]);
  assert.deepEqual(mine.subnets, ['10.0.0.0/26']);
  mine.clusterIs(view('10.0.0.0/26', '10.0.1.0/26'), true);
  assert.deepEqual(mine.subnets, ['10.0.0.0/26', '10.0.1.0/26']);
  mine.subnetsLost();
  mine.clusterIs(view('10.0.2.0/26'), true);
  assert.deepEqual(
    mine.subnets,
    ['10.0.0.0/26', '10.0.1.0/26'],
    'lost to another machine, which has these now',
  );
  mine.subnetsAre([]);
  assert.deepEqual(mine.subnets, ['10.0.2.0/26']);
});

test('what was remembered counts until the store has confirmed it', () => {
  using mine = agent();
  mine.clusterIs(view('10.0.0.0/26'), false);
  mine.subnetsWere(['10.0.0.0/26'].map(parseCidr));
  mine.clusterIs(view('10.0.1.0/26'), true);
  assert.deepEqual(mine.subnets, ['10.0.0.0/26']);
  mine.subnetsAre([]);
  assert.deepEqual(mine.subnets, ['10.0.1.0/26']);
});
