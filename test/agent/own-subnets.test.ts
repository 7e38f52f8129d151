import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { newFacts, view } from './new-facts.ts';

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
  facts.own.restore([]);
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
  assert.deepEqual(facts.own.strayBlocks, ['8.8.8.0/26']);
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
  assert.deepEqual(facts.own.strayBlocks, []);
});

test('remembered subnets are used until the store confirms others', () => {
  const facts = newFacts();
  facts.setCluster(view('10.0.0.0/26'), false);
  facts.own.restore(['10.0.0.0/26'].map(parseCidr));
  facts.setCluster(view('10.0.1.0/26'), true);
  assert.deepEqual(facts.subnets, ['10.0.0.0/26']);
  facts.confirmSubnets([]);
  assert.deepEqual(facts.subnets, ['10.0.1.0/26']);
});
