import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unfitAddress } from '../../../src/cluster/lawful.ts';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import type { Cidr } from '../../../src/ip/cidr.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { Layout, leaseName, subnetsOf } from '../../../src/store/etcd/layout.ts';
import { decodeLease, encodeLease, type LeaseValue } from '../../../src/store/flannel/lease-value.ts';
import { decodeRecord, encodeRecord } from '../../../src/store/flannel/node-record.ts';
import { prefixRange } from '../../../src/store/kv/gateway.ts';

const fail = (problem: string): never => assert.fail(problem);
const cidrs = (...texts: string[]): Cidr[] => texts.map(parseCidr);

test('lease keys match flannel’s', () => {
  const layout = new Layout('/coreos.com/network');
  const key = (...texts: string[]): string => layout.lease(cidrs(...texts));
  assert.equal(key('10.5.34.0/24'), '/coreos.com/network/subnets/10.5.34.0-24');
  const both = '/coreos.com/network/subnets/10.5.34.0-24&fc00::1:0-64';
  assert.equal(layout.lease(cidrs('fc00:0:0:1::/64')), '/coreos.com/network/subnets/fc00:0:0:1::-64');
  assert.equal(key('10.5.34.0/24', 'fc00::1:0/112'), both.replace('-64', '-112'));
  assert.equal(key('fc00::1:0/112', '10.5.34.0/24'), both.replace('-64', '-112'), 'IPv4 comes first');
  assert.equal(layout.config, '/coreos.com/network/config');
  assert.equal(new Layout('/net///').config, '/net/config');
  // flannel parses keys with this expression.
  const flannel = /(\d+\.\d+.\d+.\d+)-(\d+)(?:&([a-f\d:]+)-(\d+))?$/;
  assert.deepEqual(flannel.exec(both)?.slice(1), ['10.5.34.0', '24', 'fc00::1:0', '64']);
});

test('lease keys round-trip; anything else is rejected', () => {
  const v4 = fc.tuple(fc.ipV4(), fc.nat(32)).map(([ip, length]) => parseCidr(`${ip}/${length}`));
  const v6 = fc.tuple(fc.ipV6(), fc.nat(128)).map(([ip, length]) => parseCidr(`${parseIp(ip)}/${length}`));
  const subnets = fc.oneof(
    v4.map((a) => [a]),
    v6.map((a) => [a]),
    fc.tuple(v4, v6),
  );
  fc.assert(fc.property(subnets, (list) => assert.deepEqual(subnetsOf(leaseName(list)), list)));
  const wrong = [
    '',
    'x',
    '10.5.34.0',
    '10.5.34.0/24',
    '10.5.34.0-33',
    '10.5.34-24',
    '10.5.34.0-24&10.6.0.0-24',
  ];
  for (const name of [
    ...wrong,
    'fc00::-64&10.0.0.0-24',
    '10.0.0.0-24&',
    '010.0.0.0-24',
    '10.0.0.0-24&fc00::-129',
  ]) {
    assert.throws(() => subnetsOf(name), { code: 'ADDRESS_INVALID' }, name);
  }
});

test('lease values match flannel’s bytes', () => {
  const vtep = { VNI: 1, VtepMAC: 'c6:bf:12:00:11:22' };
  const golden: [LeaseValue, string][] = [
    [
      { addresses: { 4: parseIp('192.168.64.3') }, backend: { type: 'vxlan', data: { 4: vtep } } },
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:bf:12:00:11:22"}}',
    ],
    [
      { addresses: { 4: parseIp('192.168.64.3') }, backend: { type: 'host-gw', data: {} } },
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
    ],
    [
      {
        addresses: { 4: parseIp('192.0.2.1'), 6: parseIp('2001:db8::1') },
        backend: { type: 'vxlan', data: { 4: vtep, 6: { ...vtep, VNI: 2 } } },
      },
      '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:bf:12:00:11:22"},"BackendV6Data":{"VNI":2,"VtepMAC":"c6:bf:12:00:11:22"}}',
    ],
    [
      { addresses: { 6: parseIp('2001:db8::1') }, backend: { type: '', data: {} } },
      '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}',
    ],
    [
      { addresses: { 4: parseIp('192.0.2.1') }, backend: { type: 'extension', data: { 4: 'a<b>&"c"' } } },
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"extension","BackendData":"a\\u003cb\\u003e\\u0026\\"c\\""}',
    ],
  ];
  for (const [value, text] of golden) {
    assert.equal(encodeLease(value), text);
    assert.deepEqual(decodeLease(text, fail), value);
  }
});

const isFit = (ip: Ip): boolean => unfitAddress(ip) === undefined;

test('lease values round-trip', () => {
  const data = fc.oneof(
    fc.string(),
    fc.dictionary(fc.string(), fc.integer()),
    fc.constant({ a: [1, { b: 'é<>' }] }),
  );
  const value = fc.record({
    addresses: fc.record(
      {
        4: fc.ipV4().map(parseIp).filter(isFit),
        6: fc.ipV6().map(parseIp).filter(isFit),
      },
      { requiredKeys: [] },
    ),
    backend: fc.record({ type: fc.string(), data: fc.record({ 4: data, 6: data }, { requiredKeys: [] }) }),
  });
  fc.assert(
    fc.property(value, (one) =>
      assert.deepEqual(decodeLease(encodeLease(one), fail), JSON.parse(JSON.stringify(one))),
    ),
  );
});

test('lease values are decoded as Go does, and a malformed address only drops its family', () => {
  const problems: string[] = [];
  const read = (text: string): LeaseValue => decodeLease(text, (problem) => problems.push(problem));
  const value = read('{"publicip":"192.0.2.1","PUBLICIPV6":null,"backendtype":"VXLAN","More":[1]}');
  assert.deepEqual(value, { addresses: { 4: '192.0.2.1' }, backend: { type: 'VXLAN', data: {} } });
  assert.deepEqual(problems, []);
  assert.deepEqual(read('{"PublicIP":"192.0.2.1","PublicIPv6":"fe80:::1"}').addresses, { 4: '192.0.2.1' });
  assert.deepEqual(read('{"PublicIP":7,"PublicIPv6":"2001:db8::1"}').addresses, { 6: '2001:db8::1' });
  assert.deepEqual(read('{"PublicIP":"2001:db8::1"}').addresses, {});
  assert.equal(problems.length, 3);
  assert.match(problems[0] ?? '', /lease\.PublicIPv6/);
  for (const ip of ['127.0.0.1', '224.0.0.5', '255.255.255.255', '0.0.0.7']) {
    assert.deepEqual(read(`{"PublicIP":"${ip}","PublicIPv6":"2001:db8::1"}`).addresses, { 6: '2001:db8::1' });
    assert.match(problems.at(-1) ?? '', new RegExp(`lease.PublicIP: .*${ip} is `));
  }
  for (const ip of ['::', '::1', 'ff02::1', 'fe80::1']) {
    assert.deepEqual(read(`{"PublicIP":"192.0.2.1","PublicIPv6":"${ip}"}`).addresses, { 4: '192.0.2.1' });
    assert.match(problems.at(-1) ?? '', new RegExp(`lease.PublicIPv6: .*${ip} is `));
  }
  assert.equal(problems.length, 11);
  for (const text of ['', 'reserved', '[]', 'null', '"x"']) assert.throws(() => read(text), text);
});

test('node records round-trip, and errors name the malformed field', () => {
  const record = {
    name: 'node1',
    labels: { zone: 'a', __proto__x: '' },
    addresses: { 4: parseIp('192.0.2.1'), 6: parseIp('2001:db8::1') },
    subnets: cidrs('10.0.1.0/24', 'fd00::/64'),
    instance: 'i',
  };
  assert.deepEqual(decodeRecord(encodeRecord(record)), record);
  assert.deepEqual(decodeRecord('{"name":"n"}'), {
    name: 'n',
    labels: {},
    addresses: {},
    subnets: [],
    instance: '',
  });
  for (const text of [
    '',
    '{}',
    '{"name":"n","subnets":["x"]}',
    '{"name":"n","addresses":[7]}',
    '{"name":"n","addresses":["127.0.0.1"]}',
    '{"name":"n","addresses":["fe80::1"]}',
    '{"name":"n","subnets":7}',
  ]) {
    assert.throws(() => decodeRecord(text), text);
  }
});

test('the range of a prefix contains exactly the keys that start with it', () => {
  const bytes = fc.uint8Array({ maxLength: 4 }).map((raw) => raw.map((byte) => (byte % 3 ? byte : 0xff)));
  fc.assert(
    fc.property(
      bytes,
      fc.uint8Array({ minLength: 1, maxLength: 6 }),
      fc.boolean(),
      (prefix, other, below) => {
        const key = Buffer.from(below ? [...prefix, ...other] : other);
        const range = prefixRange(prefix);
        const open = range.end.equals(Buffer.from([0]));
        const inside = Buffer.compare(key, range.key) >= 0 && (open || Buffer.compare(key, range.end) < 0);
        assert.equal(
          inside || (prefix.length === 0 && key[0] === 0),
          Buffer.from(prefix).equals(key.subarray(0, prefix.length)),
        );
      },
    ),
  );
  assert.deepEqual(prefixRange(Buffer.from([0x61, 0xff, 0xff])).end, Buffer.from([0x62]));
  assert.deepEqual(prefixRange(Buffer.from([0xff, 0xff])).end, Buffer.from([0]));
});
