import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeResult, encodeResult, type Result } from '../../../src/cni/protocol/result.ts';
import { atLeast, VERSIONS } from '../../../src/cni/protocol/version.ts';

const ip4 = fc.ipV4();
const ip6 = fc.nat(0xffff).map((n) => `fd00:${n.toString(16)}::1`);
const maybe = <K extends string, V>(key: K, value: fc.Arbitrary<V>): fc.Arbitrary<{ [P in K]?: V }> =>
  fc.option(value, { nil: undefined }).map((v) => (v === undefined ? {} : { [key]: v }) as { [P in K]?: V });
const merged = <A extends object, B extends object>(a: fc.Arbitrary<A>, b: fc.Arbitrary<B>) =>
  fc.tuple(a, b).map(([x, y]) => ({ ...x, ...y }));

const ips = fc.oneof(
  merged(
    ip4.map((a) => ({ address: `${a}/24` })),
    maybe('gateway', ip4),
  ),
  merged(
    ip6.map((a) => ({ address: `${a}/64` })),
    maybe('gateway', ip6),
  ),
);
const routes = fc.oneof(
  merged(
    ip4.map((a) => ({ dst: `${a}/32` })),
    maybe('gw', ip4),
  ),
  merged(
    ip6.map((a) => ({ dst: `${a}/128` })),
    maybe('gw', ip6),
  ),
);
const full: fc.Arbitrary<Result> = fc.record(
  {
    interfaces: fc.array(
      merged(
        fc.constantFrom('eth0', 'cni0', 'veth1').map((name) => ({ name })),
        fc.oneof(
          fc.constant({}),
          fc.constant({ mac: '02:00:00:00:00:01', mtu: 1450, sandbox: '/run/netns/x' }),
        ),
      ),
      { maxLength: 3 },
    ),
    ips: fc.array(merged(ips, maybe('interface', fc.nat(2))), { maxLength: 4 }),
    routes: fc.array(merged(routes, maybe('mtu', fc.integer({ min: 1, max: 9000 }))), { maxLength: 4 }),
    dns: fc.constantFrom(
      {},
      { nameservers: ['10.0.0.1'], domain: 'a.b', search: ['a'], options: ['ndots:5'] },
    ),
  },
  { noNullPrototype: true },
);

test('the newest version preserves everything', () => {
  fc.assert(
    fc.property(full, (result) => {
      assert.deepEqual(decodeResult(JSON.parse(JSON.stringify(encodeResult(result, '1.1.0')))), result);
    }),
  );
});

test('in every version, decoding and encoding again gives the same result', () => {
  fc.assert(
    fc.property(full, fc.constantFrom(...VERSIONS), (result, version) => {
      const written = JSON.parse(JSON.stringify(encodeResult(result, version)));
      assert.equal(written.cniVersion, version);
      assert.deepEqual(encodeResult(decodeResult(written), version), written);
    }),
  );
});

test('an older version loses only the fields it lacks', () => {
  fc.assert(
    fc.property(full, fc.constantFrom('0.3.0', '0.3.1', '0.4.0', '1.0.0'), (result, version) => {
      const back = decodeResult(encodeResult(result, version));
      assert.deepEqual(back.ips, result.ips);
      assert.deepEqual(back.dns, result.dns);
      assert.deepEqual(
        back.interfaces,
        result.interfaces.map(({ mtu: _mtu, ...rest }) => rest),
      );
      assert.deepEqual(
        back.routes,
        result.routes.map(({ mtu: _mtu, ...rest }) => rest),
      );
    }),
  );
});

test('0.1.0 and 0.2.0 keep the first address of each family with the routes of that family', () => {
  fc.assert(
    fc.property(full, fc.constantFrom('0.1.0', '0.2.0'), (result, version) => {
      const back = decodeResult(encodeResult(result, version));
      const first = [4, 6].flatMap((family) => {
        const found = result.ips.find(({ address }) => address.includes(':') === (family === 6));
        return found ? [found.address] : [];
      });
      assert.deepEqual(
        back.ips.map(({ address }) => address),
        first,
      );
      assert.equal(back.interfaces.length, 0);
    }),
  );
});

test('results have the shapes of the specification', () => {
  const result: Result = {
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1450, sandbox: '/n' }],
    ips: [
      { interface: 0, address: '10.1.0.5/16', gateway: '10.1.0.1' },
      { interface: 0, address: 'fd00::5/64' },
    ],
    routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }, { dst: '::/0' }],
    dns: {},
  };
  assert.deepEqual(encodeResult(result, '0.2.0'), {
    cniVersion: '0.2.0',
    ip4: { ip: '10.1.0.5/16', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }] },
    ip6: { ip: 'fd00::5/64', routes: [{ dst: '::/0' }] },
    dns: {},
  });
  for (const version of ['0.3.0', '0.3.1', '0.4.0'] as const) {
    assert.deepEqual(encodeResult(result, version), {
      cniVersion: version,
      interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/n' }],
      ips: [
        { version: '4', interface: 0, address: '10.1.0.5/16', gateway: '10.1.0.1' },
        { version: '6', interface: 0, address: 'fd00::5/64' },
      ],
      routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }, { dst: '::/0' }],
      dns: {},
    });
  }
  const newest = encodeResult(result, '1.1.0');
  assert.deepEqual(newest, {
    cniVersion: '1.1.0',
    interfaces: result.interfaces,
    ips: result.ips,
    routes: result.routes,
  });
  assert.ok(atLeast('1.1.0', '0.4.0') && !atLeast('0.3.1', '0.4.0'));
});

test('keys are case-insensitive, and null counts as absent', () => {
  const result = decodeResult({
    CNIVersion: '1.0.0',
    Interfaces: [{ Name: 'eth0', Sandbox: '/n' }],
    IPs: [{ Address: '10.0.0.2/24', Gateway: null, Interface: 0 }],
    routes: null,
    DNS: { NameServers: ['10.0.0.1'] },
  });
  assert.deepEqual(result, {
    interfaces: [{ name: 'eth0', sandbox: '/n' }],
    ips: [{ address: '10.0.0.2/24', interface: 0 }],
    routes: [],
    dns: { nameservers: ['10.0.0.1'] },
  });
});

test('a field of the wrong type is named', () => {
  assert.throws(() => decodeResult({ ips: [{ address: 7 }] }), {
    code: 'CONFIG_INVALID',
    object: 'prevResult.ips[0].address',
  });
  assert.throws(() => decodeResult({ routes: [{}] }), /prevResult\.routes\[0\]\.dst: is missing/);
});
