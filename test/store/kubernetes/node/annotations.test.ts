import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeFacts } from '../../../../src/cluster/node.ts';
import { parseIp } from '../../../../src/ip/address.ts';
import { parseCidr } from '../../../../src/ip/cidr.ts';
import {
  type Annotations,
  decodeAnnotations,
  encodeAnnotations,
  type Holding,
} from '../../../../src/store/kubernetes/node/annotations.ts';
import { annotationKeys, RECORD } from '../../../../src/store/kubernetes/node/keys.ts';
import {
  annotationsPatch,
  conditionPatch,
  departurePatch,
} from '../../../../src/store/kubernetes/node/patch.ts';
import { readNode } from '../../../../src/store/kubernetes/node/read.ts';

const KEYS = annotationKeys();
const SELF: NodeFacts = {
  name: 'node1',
  labels: {},
  addresses: { 4: parseIp('192.0.2.1') },
  backend: { type: 'vxlan', data: { 4: { VNI: 1, VtepMAC: '12:c6:65:89:b4:e3' } } },
};
const holding = (over: Partial<NodeFacts> = {}): Holding => ({
  self: { ...SELF, ...over },
  subnets: [parseCidr('10.244.1.0/24')],
  instance: 'i',
});
/** A Node's annotations after a patch. */
const applied = (current: Annotations, patch: Readonly<Record<string, string | null>>): Annotations =>
  Object.fromEntries(
    Object.entries({ ...current, ...patch }).filter((entry): entry is [string, string] => entry[1] !== null),
  );
const noProblem = (problem: string): never => assert.fail(problem);

test('flannel’s annotations, byte for byte', () => {
  const flannel = (written: Record<string, string | null>): Record<string, string | null> =>
    Object.fromEntries(Object.entries(written).filter(([key, value]) => key !== RECORD && value !== null));
  assert.deepEqual(flannel(encodeAnnotations(KEYS, holding(), {})), {
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/backend-type': 'vxlan',
    'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}',
    'flannel.alpha.coreos.com/public-ip': '192.0.2.1',
  });
  const dual = holding({
    addresses: { 4: parseIp('192.0.2.1'), 6: parseIp('2001:db8::1') },
    backend: { type: 'host-gw', data: {} },
  });
  assert.deepEqual(flannel(encodeAnnotations(annotationKeys('example.com/net'), dual, {})), {
    'example.com/net-kube-subnet-manager': 'true',
    'example.com/net-backend-type': 'host-gw',
    'example.com/net-backend-data': 'null',
    'example.com/net-public-ip': '192.0.2.1',
    'example.com/net-backend-v6-data': 'null',
    'example.com/net-public-ipv6': '2001:db8::1',
  });
});

test('what flanneld 0.28.10 wrote is read, and written again the same', () => {
  const annotations = {
    'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"32:95:54:38:b7:1f"}',
    'flannel.alpha.coreos.com/backend-type': 'vxlan',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/public-ip': '172.30.0.13',
  };
  const { published, problems } = readNode(KEYS, { metadata: { name: 'node3', annotations } });
  assert.deepEqual(published, {
    name: 'node3',
    labels: {},
    addresses: { 4: '172.30.0.13' },
    backend: { type: 'vxlan', data: { 4: { VNI: 1, VtepMAC: '32:95:54:38:b7:1f' } } },
  });
  assert.deepEqual(problems, []);
  const again = encodeAnnotations(KEYS, { ...holding(), self: published ?? assert.fail() }, {});
  for (const [key, value] of Object.entries(annotations)) assert.equal(again[key], value);
});

test('the prefix is completed as flannel does; a wrong one is refused', () => {
  const start = (prefix: string): string => annotationKeys(prefix).manager.replace('kube-subnet-manager', '');
  assert.equal(start('a.b'), 'a.b/');
  assert.equal(start('a.b/'), 'a.b/');
  assert.equal(start('a.b/c'), 'a.b/c-');
  assert.equal(start('a.b/c-'), 'a.b/c-');
  for (const prefix of ['', 'a', 'A.b', 'a.b/C', 'a.b/c/', '/x', 'a b.c', 'a.b/c/d']) {
    assert.throws(() => annotationKeys(prefix), { code: 'CONFIG_INVALID' }, prefix);
  }
});

test('an IPv6-only node: no IPv4 part with VXLAN, an empty one otherwise, as flannel', () => {
  const both = { 4: parseIp('192.0.2.1'), 6: parseIp('2001:db8::1') };
  const ipv4Part = (type: string, addresses: NodeFacts['addresses']) => {
    const data = type === 'vxlan' ? { 6: { VNI: 1, VtepMAC: '12:c6:65:89:b4:e3' } } : {};
    const held = { ...holding({ addresses, backend: { type, data } }), subnets: [parseCidr('fd00:1::/64')] };
    const written = encodeAnnotations(KEYS, held, {});
    assert.equal(written[KEYS.publicIp[6]], '2001:db8::1');
    const read = decodeAnnotations(KEYS, 'node1', applied({}, written), noProblem);
    assert.deepEqual(read?.addresses, { 6: '2001:db8::1' });
    return [written[KEYS.publicIp[4]], written[KEYS.backendData[4]]];
  };
  for (const addresses of [both, { 6: both[6] }]) {
    assert.deepEqual(ipv4Part('vxlan', addresses), [null, null]);
    assert.deepEqual(ipv4Part('host-gw', addresses), ['0.0.0.0', 'null']);
  }
});

test('a person’s overwrite is published; the own address becomes a sender', () => {
  const current = { [KEYS.overwrite[4]]: '203.0.113.9' };
  const read = decodeAnnotations(
    KEYS,
    'node1',
    applied(current, encodeAnnotations(KEYS, holding(), current)),
    noProblem,
  );
  assert.deepEqual(read?.addresses, { 4: '203.0.113.9' });
  assert.deepEqual(read?.senders, ['192.0.2.1']);
  const typo = { [KEYS.overwrite[4]]: 'example.com' };
  assert.equal(encodeAnnotations(KEYS, holding(), typo)[KEYS.publicIp[4]], '192.0.2.1');
});

const ip4 = fc
  .tuple(fc.integer({ min: 1, max: 126 }), fc.nat(255), fc.nat(255))
  .map(([a, b, c]) => parseIp(`${a}.${b}.${c}.1`));
const ip6 = fc.integer({ min: 1, max: 0xffff }).map((part) => parseIp(`2001:db8::${part.toString(16)}`));
const facts: fc.Arbitrary<NodeFacts> = fc.record({
  name: fc.constant('node1'),
  labels: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
  addresses: fc.oneof(
    ip4.map((ip) => ({ 4: ip })),
    ip6.map((ip) => ({ 6: ip })),
    fc.tuple(ip4, ip6).map(([v4, v6]) => ({ 4: v4, 6: v6 })),
  ),
  backend: fc.record(
    {
      type: fc.constantFrom('vxlan', 'host-gw', 'bgp', 'wireguard'),
      data: fc.constantFrom({}, { 4: { VNI: 1 } }, { 4: { a: '<&>\u2028' }, 6: [1, '"'] }),
    },
    { noNullPrototype: true },
  ),
});

test('what is written is read back, then nothing differs; and a departure removes all of it', () => {
  fc.assert(
    fc.property(facts, fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }), (self, others) => {
      const held = { ...holding(), self };
      const after = applied(others, encodeAnnotations(KEYS, held, others));
      const read = decodeAnnotations(KEYS, self.name, after, noProblem);
      assert.ok(read);
      const { instance, ...rest } = read;
      assert.equal(instance, 'i');
      // As in flannel, an IPv6-only VXLAN node has no IPv4 part.
      const hasIpv4 =
        self.addresses[4] && (self.backend.type !== 'vxlan' || self.backend.data[4] !== undefined);
      const addresses = {
        ...(hasIpv4 && { 4: self.addresses[4] }),
        ...(self.addresses[6] && { 6: self.addresses[6] }),
      };
      assert.deepEqual(rest.addresses, addresses);
      for (const family of [4, 6] as const) {
        if (addresses[family]) assert.deepEqual(rest.backend.data[family], self.backend.data[family]);
      }
      assert.deepEqual([rest.labels, rest.backend.type], [self.labels, self.backend.type]);
      assert.equal(annotationsPatch(encodeAnnotations(KEYS, held, after), after), undefined);
      const patch = departurePatch(KEYS, after) as { metadata: { annotations: Record<string, null> } };
      assert.deepEqual(applied(after, patch.metadata.annotations), others);
    }),
  );
});

test('with addresses from blocks, only our own annotation, and flannel’s are removed', () => {
  fc.assert(
    fc.property(facts, (self) => {
      const before = applied({}, encodeAnnotations(KEYS, { ...holding(), self }, {}));
      const after = applied(before, encodeAnnotations(KEYS, { self, subnets: [], instance: 'i' }, before));
      assert.deepEqual(Object.keys(after), [RECORD]);
      assert.deepEqual(decodeAnnotations(KEYS, self.name, after, noProblem), { ...self, instance: 'i' });
    }),
  );
});

test('no annotation, however written, throws; what is unreadable is named', () => {
  const keys = [KEYS.backendData[4], KEYS.publicIp[4], KEYS.publicIp[6], KEYS.backendType, RECORD];
  const garbage = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom('[[[[', 'null', '127.0.0.1', '::', '{"name":"x"}'),
  );
  fc.assert(
    fc.property(fc.constantFrom(...keys), garbage, (key, value) => {
      const good = applied({}, encodeAnnotations(KEYS, holding(), {}));
      const metadata = { name: 'node1', annotations: { ...good, [key]: value } };
      const { problems, published } = readNode(KEYS, { metadata, spec: { podCIDR: '10.244.1.0/24' } });
      assert.ok(published);
      for (const problem of problems) assert.ok(problem.startsWith(key), problem);
    }),
  );
});

test('podCIDRs: one of each family', () => {
  const read = (spec: object) => readNode(KEYS, { metadata: { name: 'n' }, spec: { ...spec } });
  assert.deepEqual(read({}).subnets, []);
  assert.deepEqual(read({ podCIDR: '10.1.0.0/24' }).subnets, ['10.1.0.0/24']);
  const both = ['10.1.0.0/24', 'fd00:1::/64'];
  assert.deepEqual(read({ podCIDR: '10.1.0.0/24', podCIDRs: both }).subnets, both);
  for (const podCIDRs of [['10.1.0.0/24', '10.2.0.0/24'], [...both, '10.2.0.0/24'], ['x'], [1]]) {
    const { subnets, problems } = read({ podCIDRs });
    assert.deepEqual([subnets, problems.length], [[], 1], String(podCIDRs));
  }
});

test('a condition is patched when it differs, and its time of change kept otherwise', () => {
  const wanted = {
    type: 'NetworkUnavailable',
    status: 'False',
    reason: 'FlatnetIsUp',
    message: 'm',
  } as const;
  const node = (conditions: unknown) => ({ metadata: { name: 'n' }, status: { conditions } });
  const now = new Date('2026-01-02T03:04:05.678Z');
  const lastHeartbeatTime = '2026-01-02T03:04:05Z';
  const patch = (condition: object) => ({ status: { conditions: [condition] } });
  const first = { ...wanted, lastHeartbeatTime, lastTransitionTime: lastHeartbeatTime };
  assert.deepEqual(conditionPatch(wanted, node(undefined), now), patch(first));
  assert.equal(conditionPatch(wanted, node([{ type: 'Ready' }, first]), now), undefined);
  assert.deepEqual(
    conditionPatch({ ...wanted, message: 'other' }, node([first]), now),
    patch({ ...wanted, message: 'other', lastHeartbeatTime }),
  );
});
