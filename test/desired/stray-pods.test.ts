import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { podsOfFormerSubnets, strayPods } from '../../src/desired/stray-pods.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { problemText } from '../../src/problem.ts';

const pod = (name: string, ...addresses: string[]) => ({
  containerId: name,
  labels: {},
  ifName: 'eth0',
  hostDevice: `cali${name}`,
  netns: `/run/netns/${name}`,
  namespace: 'default',
  name,
  addresses: addresses.map(parseIp),
});
const resources = { ...NO_RESOURCES, ipPools: [] };
const pods = [pod('a', '10.0.0.1', 'fd00::1'), pod('b', '10.9.0.1')];

test('with blocks, pods whose addresses are in no pool are named', () => {
  assert.deepEqual(strayPods({ addresses: 'lease' }, resources, pods), []);
  assert.deepEqual(strayPods({ addresses: 'blocks' }, resources, []), []);
  const [all] = strayPods({ addresses: 'blocks' }, resources, pods).map(problemText);
  assert.match(all ?? '', /default\/a \(10\.0\.0\.1\), default\/a \(fd00::1\), default\/b \(10\.9\.0\.1\)/);
  const ipPools = ['10.0.0.0/16', 'fd00::/64'].map((cidr) => ({ cidr: parseCidr(cidr) }));
  const [some] = strayPods({ addresses: 'blocks' }, { ipPools }, pods).map(problemText);
  assert.match(some ?? '', /IPPool: default\/b \(10\.9\.0\.1\): /);
  assert.deepEqual(strayPods({ addresses: 'blocks' }, { ipPools }, [pod('a', '10.0.0.1')]), []);
  const many = Array.from({ length: 9 }, (_, i) => pod(`p${i}`, `10.9.0.${i}`));
  assert.match(
    strayPods({ addresses: 'blocks' }, { ipPools }, many).map(problemText)[0] ?? '',
    /default\/p3 \(10\.9\.0\.3\), 5 more: /,
  );
});

test('with leases, pods outside the node’s subnets are named, except those of other plugins', () => {
  const subnets = [parseCidr('10.0.0.0/24'), parseCidr('fd00::/64')];
  assert.deepEqual(
    podsOfFormerSubnets({ addresses: 'lease' }, { subnets }, [pod('a', '10.0.0.1', 'fd00::1')]),
    [],
  );
  const foreign = { ...pod('c', '172.16.0.1'), foreign: true };
  const [lost, ...more] = podsOfFormerSubnets({ addresses: 'lease' }, { subnets }, [...pods, foreign]);
  assert.deepEqual([lost?.severity, more], ['error', []]);
  assert.match(lost?.what ?? '', /no longer holds: default\/b \(10\.9\.0\.1\)$/);
  assert.deepEqual(lost?.pods, [
    {
      pod: { namespace: 'default', name: 'b' },
      what: 'its address 10.9.0.1 is of a subnet that its node no longer holds',
    },
  ]);
  assert.deepEqual(podsOfFormerSubnets({ addresses: 'blocks' }, { subnets }, pods), []);
});
