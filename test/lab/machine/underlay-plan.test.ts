import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOf, contains } from '../../../src/ip/cidr.ts';
import {
  freeIndex,
  gateway,
  MAX_NODES,
  MAX_SUBNETS,
  nodeAddresses,
  OUTSIDE,
  subnetOfNode,
  UNDERLAY,
  underlaySubnet,
} from '../../../src/lab/machine/underlay-plan.ts';

test('nodes are easy to recognise by their addresses', () => {
  assert.deepEqual(nodeAddresses(1, 0), { 4: '172.30.0.11/24', 6: 'fd77::11/64' });
  assert.deepEqual(nodeAddresses(2, 1), { 4: '172.30.1.12/24', 6: 'fd77:0:0:1::12/64' });
});

test('addresses are unique, and all in the underlay', () => {
  const plan = fc.record({
    nodes: fc.integer({ min: 1, max: MAX_NODES }),
    subnets: fc.integer({ min: 1, max: MAX_SUBNETS }),
  });
  fc.assert(
    fc.property(plan, ({ nodes, subnets }) => {
      const seen = new Set<string>(Object.values(OUTSIDE));
      let count = seen.size;
      const take = (ip: string): void => {
        assert.ok(
          UNDERLAY.some((net) => contains(net, ip as never)),
          `${ip} is outside the underlay`,
        );
        seen.add(ip);
        count++;
      };
      for (let k = 0; k < subnets; k++) for (const family of [4, 6] as const) take(gateway(k, family));
      for (let index = 1; index <= nodes; index++) {
        const subnet = subnetOfNode(index, subnets);
        for (const family of [4, 6] as const) {
          const ip = addressOf(nodeAddresses(index, subnet)[family]);
          assert.ok(contains(underlaySubnet(subnet, family), ip));
          take(ip);
        }
      }
      assert.equal(seen.size, count);
    }),
    { numRuns: 20 },
  );
});

test('a new node takes the lowest free number', () => {
  assert.equal(freeIndex([]), 1);
  assert.equal(freeIndex([1, 2, 4]), 3);
  const all = Array.from({ length: MAX_NODES }, (_, i) => i + 1);
  assert.throws(() => freeIndex(all), /at most 200 nodes/);
});
