import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from '../../../../src/cluster/node.ts';
import type { BgpFacts } from '../../../../src/companions/bird/configuration/facts.ts';
import { gatewaysOf } from '../../../../src/companions/bird/kernel/gateways.ts';
import type { ForeignRoute, Hop, MainTable } from '../../../../src/companions/bird/kernel/main-table.ts';
import { obstacleProblem, obstaclesOf } from '../../../../src/companions/bird/kernel/obstacles.ts';
import { Paths } from '../../../../src/companions/bird/kernel/paths.ts';
import type { BgpRoute } from '../../../../src/companions/bird/status/routes.ts';
import { parseIp } from '../../../../src/ip/address.ts';
import { parseCidr } from '../../../../src/ip/cidr.ts';
import { problemText } from '../../../../src/problem.ts';

const hop = (via: string | undefined, dev = 'eth0', onlink = false): Hop => ({
  ...(via !== undefined && { via: parseIp(via) }),
  dev,
  onlink,
});
const route = (dst: string, hops: readonly Hop[], more: Partial<ForeignRoute> = {}): ForeignRoute => ({
  dst: parseCidr(dst),
  type: 'unicast',
  protocol: 4,
  metric: 0,
  hops,
  ...more,
});
const table = (...routes: ForeignRoute[]): MainTable => ({
  routes,
  onLink: new Map([['eth0', ['10.0.1.0/24', 'fd00:1::/64'].map(parseCidr)]]),
});
const OTHERS: readonly Node[] = [
  {
    name: 'node2',
    labels: {},
    addresses: {},
    subnets: ['10.244.2.0/26', 'fd10:2::/122'].map(parseCidr),
    backend: { type: 'bgp', data: {} },
  },
];

test('a foreign route is an obstacle if the kernel uses it for another node’s pods', () => {
  const via = [hop('10.0.1.9')];
  const cases: [ForeignRoute, string | undefined][] = [
    [route('10.244.2.0/26', via), 'ip route del 10.244.2.0/26 via 10.0.1.9 dev eth0 proto static metric 0'],
    [
      route('10.244.2.0/26', via, { metric: 32, protocol: 3 }),
      'ip route del 10.244.2.0/26 via 10.0.1.9 dev eth0 proto boot metric 32',
    ],
    [route('10.244.2.0/26', via, { metric: 33 }), undefined],
    [
      route('10.244.2.7/32', via, { metric: 500, protocol: 99 }),
      'ip route del 10.244.2.7/32 via 10.0.1.9 dev eth0 proto 99 metric 500',
    ],
    [route('10.244.0.0/16', via), undefined],
    [route('0.0.0.0/0', via), undefined],
    [route('10.244.3.0/26', via), undefined],
    [
      route('10.244.2.0/26', [], { type: 'unreachable' }),
      'ip route del unreachable 10.244.2.0/26 proto static metric 0',
    ],
    [
      route('10.244.2.0/26', [hop('10.0.1.9', 'eth0', true), hop(undefined, 'wg0')]),
      'ip route del 10.244.2.0/26 nexthop via 10.0.1.9 dev eth0 onlink nexthop dev wg0 proto static metric 0',
    ],
    // IPv6’s default metric loses to BIRD’s.
    [route('fd10:2::/122', [hop('fd00:1::9')], { metric: 1024 }), undefined],
    [
      route('fd10:2::/122', [hop('fd00:1::9')], { metric: 1 }),
      'ip -6 route del fd10:2::/122 via fd00:1::9 dev eth0 proto static metric 1',
    ],
    [
      route('10.244.2.0/27', [hop(undefined, 'docker0')], { protocol: 2 }),
      'remove the address from docker0, or give the pods another pool',
    ],
  ];
  for (const [each, fix] of cases) {
    assert.deepEqual(
      obstaclesOf(table(each), OTHERS).map((found) => found.fix),
      fix === undefined ? [] : [fix],
    );
  }
  const [first] = obstaclesOf(table(route('10.244.2.0/26', via)), OTHERS);
  assert.ok(first);
  assert.equal(
    problemText(obstacleProblem(first)),
    "pods of node2 in 10.244.2.0/26 are out of reach: another program or person has put the route '10.244.2.0/26 via 10.0.1.9 dev eth0 proto static metric 0' before BIRD's; ip route del 10.244.2.0/26 via 10.0.1.9 dev eth0 proto static metric 0",
  );
});

test('gateways beyond the networks of their device are those that BIRD refuses', () => {
  const found = gatewaysOf(
    table(
      route('0.0.0.0/0', [hop('169.254.0.1')], { metric: 100 }),
      route('0.0.0.0/0', [hop('10.0.1.254')], { metric: 200 }),
      route('10.9.0.0/16', [hop('10.0.1.254')]),
      route('10.8.0.0/16', [hop('172.16.0.1', 'eth0', true)]),
      route('10.7.0.0/16', [hop('10.0.1.254', 'eth1'), hop('10.0.1.254')]),
      route('10.6.0.0/16', [hop(undefined, 'wg0')]),
      route('10.5.0.0/16', [], { type: 'blackhole' }),
      route('10.4.0.0/16', [hop('fd00:9::1')]),
      route('::/0', [hop('fe80::1')]),
      route('fd20::/64', [hop('fd00:9::1')]),
    ),
  );
  assert.deepEqual(found, [
    { dst: '0.0.0.0/0', hops: [{ via: '169.254.0.1', dev: 'eth0' }] },
    {
      dst: '10.7.0.0/16',
      hops: [
        { via: '10.0.1.254', dev: 'eth1' },
        { via: '10.0.1.254', dev: 'eth0' },
      ],
    },
    { dst: 'fd20::/64', hops: [{ via: 'fd00:9::1', dev: 'eth0' }] },
  ]);
});

test('blocks without a way to their next hop are named, and counted if there are many', () => {
  const unreachable = (net: string): BgpRoute => ({
    net: parseCidr(net),
    type: 'unreachable',
    protocol: 'Node_10_0_2_2',
    since: '',
    best: true,
    refused: false,
    preference: 100,
    nextHops: [],
    attributes: { 'BGP.next_hop': '10.0.2.2' },
  });
  const paths = new Paths(table());
  const [node2] = OTHERS;
  assert.ok(node2);
  const self = { node: { ...node2, name: 'node1', subnets: [] } } as unknown as BgpFacts['self'];
  const pools = [{ cidr: parseCidr('10.244.0.0/16'), ipipMode: 'Never', disableBgpExport: false }] as const;
  const texts = (...nets: string[]): string[] => {
    paths.setUnreachable(nets.map(unreachable));
    return paths.problems({ self, nodes: OTHERS, pools }).map(problemText);
  };
  assert.deepEqual(texts('10.244.2.0/26', '10.244.9.9/32', '172.31.0.0/16'), [
    '10.244.2.0/26 of node2 is unreachable: this host has no route to 10.0.2.2, its next hop; add one, such as: ip route add 10.0.2.2 via GATEWAY',
    '10.244.9.9/32 is unreachable: this host has no route to 10.0.2.2, its next hop; add one, such as: ip route add 10.0.2.2 via GATEWAY',
  ]);
  const many = Array.from({ length: 8 }, (_, i) => `10.244.${i}.0/26`);
  assert.equal(texts(...many).length, 6);
  assert.equal(texts(...many).at(-1), '3 more blocks are unreachable');
  assert.deepEqual(texts(), []);
});
