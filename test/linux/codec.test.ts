import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressReplace, decodeAddress } from '../../src/linux/address.ts';
import { decodeFdb, fdbReplace } from '../../src/linux/fdb.ts';
import { linkAdd } from '../../src/linux/link/change.ts';
import { decodeLink } from '../../src/linux/link/link.ts';
import { decodeNeighbour, neighbourReplace } from '../../src/linux/neighbour.ts';
import type { Message, Request } from '../../src/linux/netlink/message.ts';
import { decodeRoute, type Route, routeReplace } from '../../src/linux/route.ts';
import { decodeRule, ruleAdd } from '../../src/linux/rule.ts';
import { cidr4, cidr6, given, ip4, ip6, mac, maybe, name, prefixed4, prefixed6, u32 } from './values.ts';

// The kernel describes an object in the form in which it accepts it, so a verb's output must decode to its
// input.

const byFamily = [
  { cidr: cidr4, ip: ip4, prefixed: prefixed4, family: 4 as const },
  { cidr: cidr6, ip: ip6, prefixed: prefixed6, family: 6 as const },
];

for (const { cidr, ip, prefixed, family } of byFamily) {
  test(`IPv${family} routes`, () => {
    const nexthop = fc.record({
      dev: u32,
      via: maybe(ip),
      onlink: fc.boolean(),
      weight: fc.integer({ min: 1, max: 256 }),
    });
    const route: fc.Arbitrary<Route> = fc.record({
      dst: cidr,
      type: fc.constantFrom('unicast', 'blackhole', 'unreachable', 'prohibit', 'throw', 'local'),
      dev: maybe(u32),
      via: maybe(fc.oneof(ip, ip6)),
      onlink: fc.boolean(),
      src: maybe(ip),
      metric: u32,
      table: u32,
      protocol: fc.integer({ min: 0, max: 255 }),
      scope: fc.integer({ min: 0, max: 255 }),
      mtu: maybe(u32),
      nexthops: maybe(fc.array(nexthop, { minLength: 1, maxLength: 4 })),
    });
    fc.assert(
      fc.property(route, (value) => {
        assert.deepEqual(decoded(routeReplace(value), decodeRoute), given(value));
      }),
    );
  });

  test(`IPv${family} addresses`, () => {
    const address = fc.record({
      dev: u32,
      address: prefixed,
      peer: maybe(ip),
      broadcast: maybe(ip),
      label: maybe(name),
      scope: fc.integer({ min: 0, max: 255 }),
      flags: fc.integer({ min: 0, max: 0xffff }),
    });
    fc.assert(
      fc.property(address, (value) => {
        fc.pre(!value.address.startsWith(`${value.peer}/`));
        assert.deepEqual(decoded(addressReplace(value), decodeAddress), given(value));
      }),
    );
  });

  test(`IPv${family} neighbours`, () => {
    const neighbour = fc.record({
      dev: u32,
      ip,
      mac: maybe(mac),
      state: fc.integer({ min: 0, max: 0xffff }),
      flags: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(neighbour, (value) => {
        assert.deepEqual(decoded(neighbourReplace(value), decodeNeighbour), given(value));
      }),
    );
  });

  test(`IPv${family} rules`, () => {
    const rule = fc.record({
      family: fc.constant(family),
      priority: u32,
      action: fc.constantFrom('lookup' as const, 'blackhole' as const, 'unreachable' as const),
      table: u32,
      from: maybe(cidr),
      to: maybe(cidr),
      iif: maybe(name),
      oif: maybe(name),
      mark: maybe(u32),
      mask: maybe(u32),
      invert: fc.boolean(),
      suppressPrefixLength: maybe(fc.integer({ min: 0, max: 32 })),
      protocol: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(rule, (value) => {
        assert.deepEqual(decoded(ruleAdd(value), decodeRule), given(value));
      }),
    );
  });
}

test('FDB entries', () => {
  const fdb = fc.record({
    dev: u32,
    mac,
    dst: maybe(fc.oneof(ip4, ip6)),
    port: maybe(fc.integer({ min: 1, max: 65_535 })),
    vni: maybe(fc.integer({ min: 1, max: 0xffffff })),
    via: maybe(u32),
    vlan: maybe(fc.integer({ min: 1, max: 4094 })),
    state: fc.integer({ min: 0, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 255 }),
  });
  fc.assert(
    fc.property(fdb, (value) => {
      assert.deepEqual(decoded(fdbReplace(value), decodeFdb), given(value));
    }),
  );
});

test('vxlan links', () => {
  const address = fc.oneof(ip4, ip6).filter((ip) => ip !== '0.0.0.0' && ip !== '::');
  const data = fc.record({
    kind: fc.constant('vxlan' as const),
    id: fc.integer({ min: 1, max: 0xffffff }),
    local: maybe(address),
    group: maybe(address),
    dev: maybe(u32),
    port: fc.integer({ min: 1, max: 65_535 }),
    ttl: fc.integer({ min: 0, max: 255 }),
    learning: fc.boolean(),
    ageing: u32,
    proxy: fc.boolean(),
    l2miss: fc.boolean(),
    l3miss: fc.boolean(),
    udpChecksum: fc.boolean(),
    udp6ZeroChecksumTx: fc.boolean(),
    udp6ZeroChecksumRx: fc.boolean(),
    gbp: fc.boolean(),
    collectMetadata: fc.boolean(),
  });
  const spec = fc.record({
    name,
    mtu: u32,
    mac,
    master: maybe(u32),
    group: u32,
    data,
    index: u32,
    up: fc.boolean(),
  });
  fc.assert(
    fc.property(spec, (value) => {
      const [create, ...more] = linkAdd(value);
      assert.ok(create);
      assert.deepEqual(more, []);
      const {
        flags: _,
        txQueueLength: __,
        kind,
        running,
        operational,
        ...link
      } = decoded(create, decodeLink);
      assert.equal(kind, 'vxlan');
      assert.deepEqual([running, operational], [false, false]);
      assert.deepEqual(link, given(value));
    }),
  );
});

test('bridge and veth links: one request where the kernel accepts that, a second one for the rest', () => {
  const bridge = linkAdd({
    name: 'cni0',
    up: true,
    data: { kind: 'bridge', stp: false, multicastSnooping: true },
  });
  assert.equal(bridge.length, 1);
  const alias = linkAdd({ name: 'cni0', up: true, alias: 'x', data: { kind: 'bridge' } });
  assert.equal(alias.length, 2);
  assert.deepEqual(
    alias.map((request) => decoded(request, decodeLink).up),
    [false, true],
  );
  assert.equal(decoded(alias[1], decodeLink).name, 'cni0');
  const port = linkAdd({
    name: 'v0',
    master: 3,
    port: { hairpin: true },
    data: { kind: 'veth', peer: { name: 'v1' } },
  });
  assert.equal(port.length, 2);
  assert.throws(
    () => linkAdd({ name: 'v0', netns: 5, alias: 'x', data: { kind: 'bridge' } }),
    /combined with netns/,
  );
});

function decoded<T extends object>(
  request: Request | undefined,
  decode: (message: Message) => T | undefined,
): T {
  assert.ok(request);
  const value = decode({ ...request, sequence: 0, portId: 0 });
  assert.ok(value);
  return JSON.parse(JSON.stringify(value));
}
