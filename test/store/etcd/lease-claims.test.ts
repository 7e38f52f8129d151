import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unlawfulSubnet } from '../../../src/cluster/lawful.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { overlaps, parseCidr } from '../../../src/ip/cidr.ts';
import { problemText } from '../../../src/problem.ts';
import { keyProblems } from '../../../src/store/etcd/ignored.ts';
import { encodeLease } from '../../../src/store/flannel/lease-value.ts';
import { encodeRecord } from '../../../src/store/flannel/node-record.ts';
import type { WatchEvent } from '../../../src/store/kv/kv.ts';
import { Keys, layout, stateOf, viewOf } from './keys.ts';

const CONFIG = '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/56"}';
const lease = (ip: string): string =>
  encodeLease({ addresses: { 4: parseIp(ip) }, backend: { type: 'vxlan', data: {} } });
const key = (...cidrs: string[]): string => layout.lease(cidrs.map(parseCidr));

/** The lines of status about a store with these leases, written in this order, each by a node of its own. */
function linesFor(...leases: readonly (readonly string[])[]): { nodes: string[][]; lines: string[] } {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  for (const [i, cidrs] of leases.entries()) keys.put(key(...cidrs), lease(`172.16.0.${i + 1}`));
  const state = stateOf(keys);
  return {
    nodes: viewOf(state).nodes.map(({ name, subnets }) => [name, ...subnets]),
    lines: keyProblems(state, layout).map(problemText),
  };
}

test('a lease outside the network, or of an unlawful size, is named and left out', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['172.30.0.0/24', '172.30.0.0/24 is outside the network, 10.244.0.0/16'],
    ['10.0.0.0/8', '10.0.0.0/8 is more than the network, 10.244.0.0/16'],
    ['10.244.0.0/16', '10.244.0.0/16 is too large for a node: at most a /18 of 10.244.0.0/16'],
    ['10.244.128.0/17', '10.244.128.0/17 is too large for a node: at most a /18 of 10.244.0.0/16'],
    ['10.244.7.0/31', '10.244.7.0/31 is too small for a node: at least a /30'],
    ['fd00:10:245::/64', 'fd00:10:245::/64 is outside the network, fd00:10:244::/56'],
    ['fd00:10:244::/57', 'fd00:10:244::/57 is too large for a node: at most a /58 of fd00:10:244::/56'],
  ];
  for (const [cidr, reason] of cases) {
    const { nodes, lines } = linesFor(['10.244.9.0/24'], [cidr]);
    assert.deepEqual(nodes, [['172.16.0.1', '10.244.9.0/24']]);
    assert.equal(lines.length, 1);
    assert.ok(
      lines.every((line) => line.startsWith(`${key(cidr)} is ignored: ${reason}; `)),
      `${lines}`,
    );
  }
});

test('the sizes flannel may hand out are believed, whatever SubnetLen says', () => {
  for (const cidr of [
    '10.244.64.0/18',
    '10.244.7.0/24',
    '10.244.7.128/25',
    '10.244.7.4/30',
    'fd00:10:244:1::/64',
  ]) {
    const { nodes, lines } = linesFor([cidr]);
    assert.deepEqual(nodes, [['172.16.0.1', cidr]]);
    assert.deepEqual(lines, []);
  }
});

test('one bad family costs only itself', () => {
  const { nodes, lines } = linesFor(['10.9.0.0/24', 'fd00:10:244:1::/64']);
  assert.deepEqual(nodes, [['172.16.0.1', 'fd00:10:244:1::/64']]);
  assert.equal(lines.length, 1);
});

test('of overlapping leases the older one counts, until it goes', () => {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  keys.put(key('10.244.3.0/24'), lease('172.16.0.1'));
  keys.put(key('10.244.0.0/20'), lease('172.16.0.2'));
  const state = stateOf(keys);
  const nodes = () => viewOf(state).nodes.map(({ subnets }) => `${subnets}`);
  assert.deepEqual(nodes(), ['10.244.3.0/24']);
  assert.match(
    keyProblems(state, layout).map(problemText).join('\n'),
    /^\/net\/subnets\/10\.244\.0\.0-20 is ignored: 10\.244\.0\.0\/20 of 172\.16\.0\.2 overlaps 10\.244\.3\.0\/24 of 172\.16\.0\.1, which is older; /,
  );
  // A renewal makes it no younger.
  state.apply({ revision: keys.revision, events: [keys.put(key('10.244.3.0/24'), lease('172.16.0.1'))] });
  assert.deepEqual(nodes(), ['10.244.3.0/24']);
  state.apply({ revision: keys.revision, events: [keys.delete(key('10.244.3.0/24'))] });
  assert.deepEqual(nodes(), ['10.244.0.0/20']);
  assert.deepEqual(keyProblems(state, layout), []);
});

test('a key with the address of a node that has joined gives it no subnet that it may not have', () => {
  const keys = new Keys();
  keys.put(layout.config, CONFIG);
  const own = parseCidr('10.244.1.0/24');
  keys.put(key(own), lease('172.16.0.1'));
  const record = {
    name: 'one',
    labels: {},
    addresses: { 4: parseIp('172.16.0.1') },
    subnets: [own],
    instance: 'i',
  };
  keys.put(layout.node('one'), encodeRecord(record));
  keys.put(key('172.30.0.0/24'), lease('172.16.0.1'));
  const state = stateOf(keys);
  assert.deepEqual(
    viewOf(state).nodes.map(({ name, subnets }) => [name, ...subnets]),
    [['one', own]],
  );
  assert.equal(keyProblems(state, layout).length, 1);
});

test('whatever is in the store: believed subnets are lawful and disjoint, and all nodes believe the same', () => {
  const subnet = fc.oneof(
    fc
      .tuple(fc.nat(3), fc.constantFrom(24, 24, 24, 25, 22, 18, 16, 31))
      .map(([i, n]) => `10.244.${i}.0/${n}`),
    fc.tuple(fc.nat(3), fc.constantFrom(64, 64, 62, 56)).map(([i, n]) => `fd00:10:244:${i}::/${n}`),
    fc.constantFrom('172.30.0.0/24', '0.0.0.0/0', '127.0.0.0/8', '10.244.0.0/15', 'fe80::/64'),
  );
  const step = fc.record({
    subnet,
    ip: fc.nat(4),
    gone: fc.boolean(),
    recorded: fc.boolean(),
    wider: fc.nat(20),
  });
  const wider = CONFIG.replace('10.244.0.0/16', '10.244.0.0/15');
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), fc.nat(24), (steps, missed) => {
      const keys = new Keys();
      keys.put(layout.config, CONFIG);
      const follower = stateOf(keys);
      const late = stateOf(keys);
      for (const [i, { subnet, ip, gone, recorded, wider: dice }] of steps.entries()) {
        const cidr = parseCidr(subnet);
        const events: WatchEvent[] = [];
        if (gone) events.push(keys.delete(key(cidr)));
        else events.push(keys.put(key(cidr), lease(`172.16.0.${ip + 1}`)));
        if (recorded) {
          const addresses = { 4: parseIp(`172.16.0.${ip + 1}`) };
          const record = { name: `n${ip}`, labels: {}, addresses, subnets: [cidr], instance: 'i' };
          events.push(keys.put(layout.node(`n${ip}`), encodeRecord(record)));
        }
        if (dice === 0) events.push(keys.put(layout.config, wider));
        if (dice === 1) events.push(keys.put(layout.config, CONFIG));
        follower.apply({ revision: keys.revision, events });
        if (i === missed) late.reset([...keys.items.values()].reverse(), keys.revision);
      }
      late.reset([...keys.items.values()].reverse(), keys.revision);
      const views = [follower, late, stateOf(keys)].map(viewOf);
      for (const view of views) assert.deepEqual(view, views[0]);
      assert.deepEqual(keyProblems(late, layout), keyProblems(follower, layout));
      const { nodes, network: now } = viewOf(follower);
      const held = nodes.flatMap(({ name, subnets }) => subnets.map((each) => ({ name, each })));
      for (const [i, { name, each }] of held.entries()) {
        assert.equal(unlawfulSubnet(now, each), undefined);
        for (const other of held.slice(i + 1)) assert.ok(other.name === name || !overlaps(other.each, each));
      }
    }),
    { numRuns: 300 },
  );
});
