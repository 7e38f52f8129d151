import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isNewEnough } from '../../../../src/companions/bird/daemon/program.ts';
import { type Reply, ReplyReader } from '../../../../src/companions/bird/daemon/reply.ts';
import { readDaemon, readProtocols } from '../../../../src/companions/bird/status/protocols.ts';
import { readRoutes } from '../../../../src/companions/bird/status/routes.ts';

const PROTOCOLS = `2002-Name       Proto      Table      State  Since         Info
1002-Direct     Direct     ---        up     2026-11-22 19:44:55  
1006-  Channel ipv4
     Routes:         1 imported, 0 exported, 1 preferred
   Channel ipv6
     Routes:         2 imported, 0 exported, 0 preferred
 
1002-Node_10_0_1_2 BGP        ---        start  2026-11-22 19:44:56.123  Active        Socket: Connection refused
1006-  BGP state:          Active
     Neighbor address: 10.0.1.2
 
0000 
`;

const ROUTES = `1007-Table master4:
 10.244.1.0/26        blackhole [Kernel4 2026-11-22 19:44:56] * (200)
1008-\tType: inherit univ
1012-\tKernel.source: 110
 \tKernel.metric: 0
1007-10.244.2.0/26        unicast [Node_10_0_1_2 2026-11-22 19:44:56 from 10.0.1.9] * (100/20) [i]
 \tvia 10.0.1.2 on tunl0 onlink weight 1
 \tvia 10.0.1.3 on tunl0 onlink weight 1
1008-\tType: BGP univ
1012-\tBGP.origin: IGP
 \tBGP.as_path: 
1007-                     unicast [Node_10_0_1_3 2026-11-22 19:44:56] (100) [AS65001i]
 \tvia 10.0.1.3 on eth0
1008-\tType: BGP univ
1007-10.244.3.0/26        unicast [Node_10_0_1_3 2026-11-22 19:44:56] ! (100) [i]
 \tvia 10.0.1.3 on eth0
1008-\tType: BGP univ
1007-10.0.1.0/24          unicast [Direct 2026-11-22 19:44:55] * (240)
 \tdev eth0
1008-\tType: device univ
0000 
`;

const STATUS = `1000-BIRD 2.0.12
1011-Router ID is 10.0.1.1
 Hostname is vm
 Current server time is 2026-11-22 19:45:02.001
 Last reboot on 2026-11-22 19:44:55.566
0013 Daemon is up and running
`;

function replyOf(text: string): Reply {
  const replies = new ReplyReader().push(text);
  assert.equal(replies.length, 1);
  return replies[0] as Reply;
}

test('replies do not depend on how the bytes arrive, and exclude interspersed log messages', () => {
  const text = `0001 BIRD 2.0.12 ready.\n${PROTOCOLS}+<INFO> log\n${STATUS}9001 syntax error\n`;
  const whole = new ReplyReader().push(text);
  assert.deepEqual(
    whole.map(({ code }) => code),
    [1, 0, 13, 9001],
  );
  fc.assert(
    fc.property(fc.array(fc.nat(text.length)), (cuts) => {
      const reader = new ReplyReader();
      const edges = [0, ...cuts.toSorted((a, b) => a - b), text.length];
      const pieces = edges.slice(1).map((end, i) => text.slice(edges[i], end));
      assert.deepEqual(
        pieces.flatMap((piece) => reader.push(piece)),
        whole,
      );
    }),
  );
});

test('protocols are parsed', () => {
  const [direct, node] = readProtocols(replyOf(PROTOCOLS));
  assert.deepEqual([direct?.name, direct?.state, direct?.imported], ['Direct', 'up', 3]);
  assert.deepEqual(node, {
    name: 'Node_10_0_1_2',
    type: 'BGP',
    state: 'start',
    since: '2026-11-22 19:44:56',
    info: 'Active Socket: Connection refused',
    imported: 0,
    exported: 0,
    peerRestarts: false,
    keepsStale: false,
  });
});

test('several routes to a network, and several next hops of a route, are parsed', () => {
  const routes = readRoutes(replyOf(ROUTES));
  assert.deepEqual(
    routes.map(({ net, type, protocol, best, refused, preference }) => [
      net,
      type,
      protocol,
      best,
      refused,
      preference,
    ]),
    [
      ['10.244.1.0/26', 'blackhole', 'Kernel4', true, false, 200],
      ['10.244.2.0/26', 'unicast', 'Node_10_0_1_2', true, false, 100],
      ['10.244.2.0/26', 'unicast', 'Node_10_0_1_3', false, false, 100],
      // The kernel refuses it (`!`).
      ['10.244.3.0/26', 'unicast', 'Node_10_0_1_3', true, true, 100],
      ['10.0.1.0/24', 'unicast', 'Direct', true, false, 240],
    ],
  );
  assert.deepEqual(routes[1]?.nextHops, [
    { via: '10.0.1.2', dev: 'tunl0', onLink: true },
    { via: '10.0.1.3', dev: 'tunl0', onLink: true },
  ]);
  assert.deepEqual(routes[0]?.attributes, { 'Kernel.source': '110', 'Kernel.metric': '0' });
  assert.deepEqual(routes[4]?.nextHops, [{ dev: 'eth0', onLink: false }]);
});

test('the daemon, and whether it is new enough', () => {
  assert.deepEqual(readDaemon(replyOf(STATUS)), {
    version: '2.0.12',
    routerId: '10.0.1.1',
    since: '2026-11-22 19:44:55',
    uptime: 6,
    recovering: false,
    waitingFor: 0,
  });
  assert.deepEqual(
    ['2.0.12', '2.0.13', '2.13', '2.17.1', '3.0.0', '2.0.11', '2.0.2', '1.6.8'].map(isNewEnough),
    [true, true, true, true, true, false, false, false],
  );
});
