import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { linkLocalOf } from '../../src/ip/mac.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { closedPort, multicastTable } from '../../src/policy/node/multicast.ts';
import { PolicedNode } from '../agent/flows/node.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { eventually } from '../store/servers.ts';
import { BridgedNode, guardOfPods } from './bridged-node.ts';
import { macOf, NODE, PODS } from './routed-node.ts';

/** Every host is a member. */
const ALL_HOSTS = parseIp('224.0.0.1');
const PORT = 4000;

test('on a bridge, what is for many reaches no pod that is closed, except from the node', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t, new BridgedNode());
  const { node } = policed;
  const [sender, closed, open] = PODS;
  assert.ok(sender && closed && open);
  for (const at of [sender, NODE])
    node.run(at, 'ip', 'route', 'add', '224.0.0.0/4', 'dev', at === NODE ? 'cni0' : 'eth0');
  const groupEchoes = (): string => {
    const command = ['ping', '-6', '-c3', '-i0.3', '-w3', 'ff02::1%eth0'];
    const args = ['netns', 'exec', node.nameAt(sender), ...command];
    return execFileSync('ip', args, { encoding: 'utf8' });
  };
  const heard = async (from: Ip, to: Ip): Promise<readonly boolean[]> => {
    using stack = new DisposableStack();
    const at = [closed, open].map((pod) => stack.use(UdpSocket.open(node.at(pod), { ip: to, port: PORT })));
    const socket = stack.use(UdpSocket.open(node.at(from), { ip: from, port: 0 }));
    socket.send(Buffer.from('hello'), { ip: to, port: PORT });
    await sleep(100);
    return at.map((each) => each.receive() !== undefined);
  };
  const isIn = (pod: Ip): boolean => groupEchoes().includes(linkLocalOf(macOf(pod)));
  // After duplicate address detection.
  await eventually(() => isIn(closed) && isIn(open));
  await policed.become({ 1: 'isolated' }, { besides: guardOfPods() });
  assert.deepEqual(await heard(sender, ALL_HOSTS), [true, true], 'as it was');
  const port = closedPort({
    containerId: '',
    labels: {},
    ifName: '',
    netns: '',
    addresses: [],
    hostDevice: 'fltp1',
  });
  await policed.become({ 1: 'isolated' }, { besides: [...guardOfPods(), multicastTable, ...port] });
  assert.deepEqual(await heard(sender, ALL_HOSTS), [false, true]);
  assert.deepEqual(await heard(NODE, ALL_HOSTS), [true, true]);
  assert.deepEqual([isIn(closed), isIn(open)], [false, true]);
  // Neighbours find each other.
  node.run(open, 'ip', '-6', 'neigh', 'flush', 'all');
  node.run(closed, 'ip', '-6', 'neigh', 'flush', 'all');
  node.run(closed, 'ping', '-c1', '-W2', `${linkLocalOf(macOf(open))}%eth0`);
});
