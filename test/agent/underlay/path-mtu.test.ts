import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeviceMtu, PeerPaths } from '../../../src/agent/underlay/path-mtu.ts';
import type { Node } from '../../../src/cluster/node.ts';
import { familyOf, type Ip, parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import type { Route } from '../../../src/linux/route.ts';

const ETH0 = 2;
const JUMBO = 3;
const CABLE = 4;
/** A device of the pod network, which is not among them. */
const FLANNEL = 9;
const MTUS = new Map<number, DeviceMtu>([
  [ETH0, { mtu: 1500, mtu6: 1492 }],
  [JUMBO, { mtu: 9000, mtu6: 9000 }],
  [CABLE, { mtu: 1460, mtu6: 1460 }],
]);

const A = parseIp('192.0.2.1');
const B = parseIp('192.0.2.2');
const B6 = parseIp('2001:db8::2');

function node(name: string, ...ips: Ip[]): Node {
  const addresses = Object.fromEntries(ips.map((ip) => [familyOf(ip), ip]));
  return { name, labels: {}, addresses, subnets: [], backend: { type: 'vxlan', data: {} } };
}

function route(over: Partial<Route> = {}): Route {
  return { dst: parseCidr('192.0.2.0/24'), type: 'unicast', dev: ETH0, ...over };
}

const ROUTE6 = { dst: parseCidr('2001:db8::/64') };

function mtuOf(answer: Route): number | undefined {
  const paths = new PeerPaths();
  paths.setPeers([node('a', A)], 'self');
  paths.learn(A, answer);
  return paths.narrowest(MTUS)?.mtu;
}

test('a route’s MTU counts, capped by its devices', () => {
  assert.equal(mtuOf(route()), 1500);
  assert.equal(mtuOf(route({ mtu: 1400 })), 1400);
  assert.equal(mtuOf(route({ mtu: 9000 })), 1500);
  assert.equal(mtuOf(route({ dev: JUMBO })), 9000);
  assert.equal(mtuOf(route({ dev: JUMBO, mtu: 1500 })), 1500);
});

test('IPv6 uses the MTU that a router advertised', () => {
  assert.equal(mtuOf(route(ROUTE6)), 1492);
  assert.equal(mtuOf(route({ ...ROUTE6, mtu: 1300 })), 1300);
});

test('the narrowest device of a multipath route counts', () => {
  const nexthops = [{ dev: JUMBO }, { dev: CABLE }, { dev: ETH0 }];
  assert.equal(mtuOf(route({ dev: undefined, nexthops })), 1460);
  assert.equal(mtuOf(route({ dev: undefined, nexthops, mtu: 1400 })), 1400);
});

test('a route that does not lead to another node does not count', () => {
  assert.equal(mtuOf(route({ type: 'local', mtu: 1300 })), undefined);
  assert.equal(mtuOf(route({ type: 'blackhole', dev: undefined, mtu: 1300 })), undefined);
  assert.equal(mtuOf(route({ dev: FLANNEL, mtu: 1300 })), undefined);
  const nexthops = [{ dev: ETH0 }, { dev: FLANNEL }];
  assert.equal(mtuOf(route({ dev: undefined, nexthops, mtu: 1300 })), undefined);
});

test('the narrowest path to any peer counts, and only new addresses are returned', () => {
  const paths = new PeerPaths();
  const a = node('a', A);
  const b = node('b', B, B6);
  assert.deepEqual(paths.setPeers([node('self', parseIp('192.0.2.9')), a], 'self'), [A]);
  assert.equal(paths.narrowest(MTUS), undefined);
  assert.deepEqual(paths.setPeers([a, b], 'self'), [B, B6]);
  assert.deepEqual(paths.setPeers([a, b], 'self'), []);
  assert.deepEqual(paths.peers, [A, B, B6]);
  paths.learn(A, route());
  paths.learn(B, route({ mtu: 1400 }));
  paths.learn(B6, route({ ...ROUTE6, mtu: 1300 }));
  assert.deepEqual(paths.narrowest(MTUS), { peer: B6, mtu: 1300 });
  paths.learn(B6, route(ROUTE6));
  assert.deepEqual(paths.narrowest(MTUS), { peer: B, mtu: 1400 });
});

test('a path that may soon return does not raise the MTU', () => {
  const paths = new PeerPaths();
  const [a, b] = [node('a', A), node('b', B)];
  paths.setPeers([a, b], 'self');
  paths.learn(A, route());
  paths.learn(B, route({ mtu: 1400 }));
  paths.learn(B, undefined);
  paths.learn(B, route({ type: 'blackhole', dev: undefined }));
  assert.equal(paths.narrowest(MTUS)?.mtu, 1400, 'no route at the moment');

  paths.setPeers([a], 'self');
  assert.equal(paths.narrowest(MTUS)?.mtu, 1400, 'the peer left just now');
  assert.deepEqual(paths.setPeers([a, b], 'self'), [B]);
  paths.forget();
  assert.equal(paths.narrowest(MTUS)?.mtu, 1400, 'it is back');
  paths.setPeers([a], 'self');
  paths.forget();
  assert.equal(paths.narrowest(MTUS)?.mtu, 1500, 'it is gone');
});
