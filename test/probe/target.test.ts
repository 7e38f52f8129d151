import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Node, Self } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { type Target, targetsTo, type Untestable } from '../../src/probe/target.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

const NODE: Node = {
  name: 'node1',
  labels: {},
  addresses: { 4: parseIp('172.30.0.11') },
  subnets: [parseCidr('10.244.1.0/24')],
  backend: { type: 'vxlan', data: {} },
};
const SELF: Self = {
  node: NODE,
  underlay: {
    dev: 'eth0',
    mtu: 1500,
    addresses: { 4: parseIp('172.30.0.11') },
    onLink: [parseCidr('172.30.0.0/24')],
  },
  tunnelMacs: tunnelMacsOf('node1'),
};
const VTEP = { VNI: 1, VtepMAC: '02:00:00:00:00:02' };

/** What to probe of a peer, with a backend. */
function probe(backend: object, peer: Partial<Node> = {}, conf: object = {}): Target & Partial<Untestable> {
  const network = readNetwork({ Network: '10.244.0.0/16', Backend: backend, ...conf });
  const { type } = network.backend;
  const node: Node = {
    ...NODE,
    name: 'node2',
    addresses: { 4: parseIp('172.30.0.12') },
    subnets: [parseCidr('10.244.2.0/24')],
    backend: { type, data: { 4: VTEP } },
    ...peer,
  };
  const [found, ...more] = targetsTo(node, { network, self: SELF, resources: NO_RESOURCES, mtu: 1450 });
  assert.deepEqual(more, []);
  return found as Target & Partial<Untestable>;
}

test('through a tunnel, to the address of the peer’s device', () => {
  const { inner, source, carrier, overhead, isOnLink, hasMtuOption } = probe({ Type: 'vxlan', Port: 9999 });
  assert.deepEqual(
    [inner, source, carrier, overhead, isOnLink, hasMtuOption],
    ['10.244.2.0', undefined, { udp: 9999 }, 50, true, true],
  );
  assert.deepEqual(probe({ Type: 'ipip' }).carrier, { protocol: 4 });
  assert.equal(probe({ Type: 'ipip' }).hasMtuOption, false);
});

test('with direct routes, past the tunnel to the same address', () => {
  const { inner, carrier, overhead } = probe({ Type: 'vxlan', DirectRouting: true });
  assert.deepEqual([inner, carrier, overhead], ['10.244.2.0', 'routes', 0]);
});

test('by plain routes, from gateway to gateway; routed pods have none', () => {
  const { inner, source, carrier } = probe({ Type: 'host-gw' });
  assert.deepEqual([inner, source, carrier], ['10.244.2.1', '10.244.1.1', 'routes']);
  const routed = probe({ Type: 'host-gw' }, {}, { wiring: 'routed' });
  assert.deepEqual([routed.inner, routed.source], [undefined, undefined]);
});

test('what else may carry the packets: each carrier once, and only what could', () => {
  const types = (target: Target): string[] => target.others.map(({ type }) => type);
  assert.deepEqual(types(probe({ Type: 'vxlan' })), ['vxlan-md', 'geneve', 'gre', 'ipip', 'udp', 'host-gw']);
  const far = probe({ Type: 'vxlan' }, { addresses: { 4: parseIp('172.31.0.12') } });
  assert.ok(!types(far).includes('host-gw'), 'no peer beyond a router');
  assert.deepEqual(types(probe({ Type: 'vxlan', Port: 4789 })).slice(0, 2), ['geneve', 'gre']);
  assert.deepEqual(types(probe({ Type: 'bgp' }, {}, { wiring: 'routed', addresses: 'blocks' })), []);
});

const UNTESTABLE: readonly (readonly [what: string, backend: object, peer: Partial<Node>, why: RegExp])[] = [
  ['another backend', {}, { backend: { type: 'host-gw', data: {} } }, /^uses backend 'host-gw', not 'vxlan'/],
  ['no VTEP MAC', {}, { backend: { type: 'vxlan', data: {} } }, /^published no IPv4 VTEP MAC$/],
  [
    'our own address',
    {},
    { addresses: { 4: parseIp('172.30.0.11') } },
    /publishes this node’s public address/,
  ],
  ['a pod’s address', {}, { addresses: { 4: parseIp('10.244.9.9') } }, /is in a network of pods/],
  ['our own subnet', {}, { subnets: [parseCidr('10.244.1.0/24')] }, /overlaps this node's own: ignored/],
  ['no address', {}, { addresses: {} }, /^it has no public IPv4 address$/],
  ['no subnet', {}, { subnets: [] }, /^it has no IPv4 subnet$/],
  ['alloc', { Type: 'alloc' }, {}, /^nothing is known of what carries packets of backend alloc$/],
];
for (const [what, backend, peer, why] of UNTESTABLE) {
  test(`nothing is sent to a peer with ${what}`, () => {
    assert.match(probe(backend, peer).why ?? '', why);
  });
}

test('on a physical network, no peer’s subnet is out of place', () => {
  const conf = { Network: '172.30.0.0/16', SubnetMin: '172.30.128.0', wiring: 'macvlan' };
  const { why } = probe({ Type: 'alloc' }, { subnets: [parseCidr('172.30.128.0/24')] }, conf);
  assert.equal(why, 'the physical network carries its pods’ packets, past the nodes');
});
