import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ip } from '../../src/ip/address.ts';
import { linkLocalOf } from '../../src/ip/mac.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { PolicedNode } from '../agent/flows/node.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { eventually } from '../store/servers.ts';
import { BridgedNode, guardOfPods } from './bridged-node.ts';
import { macOf, NODE, PODS, PODS6 } from './routed-node.ts';

const PORT = 4000;
const MULTICAST_MAC = '01:00:5e:00:00:01';

test('pods on a bridge find each other as far as policies let them', { skip: NO_KERNEL }, async (t) => {
  const { node } = await isolating(t);
  const [confined, isolated, friend, free] = PODS6;
  assert.ok(confined && isolated && friend && free);
  const reaches = (from: Ip, to: Ip): boolean => {
    try {
      node.run(from, 'ping', '-c1', '-W1', to);
      return true;
    } catch {
      return false;
    }
  };
  assert.equal(reaches(friend, isolated), true);
  assert.equal(reaches(confined, friend), true);
  assert.equal(reaches(free, isolated), false);
  assert.equal(reaches(confined, free), false);
});

test('a pod receives what is for it alone, whoever else it is said to be for', {
  skip: NO_KERNEL,
}, async (t) => {
  const { node } = await isolating(t);
  const [confined, , friend, accomplice] = PODS;
  assert.ok(confined && friend && accomplice);
  const reaches = async (to: Ip, at: Ip): Promise<boolean> => {
    using receiver = UdpSocket.open(node.at(at), { ip: to, port: PORT });
    using sender = UdpSocket.open(node.at(confined), { ip: confined, port: 0 });
    sender.send(Buffer.from('hello'), { ip: to, port: PORT });
    await sleep(100);
    return receiver.receive() !== undefined;
  };
  node.run(accomplice, 'ip', 'link', 'set', 'lo', 'up');
  node.run(confined, 'ip', 'route', 'add', NODE, 'dev', 'eth0');
  // It may send to both.
  for (const to of [NODE, friend]) {
    assert.equal(await reaches(to, to), true);
    node.run(accomplice, 'ip', 'address', 'add', `${to}/32`, 'dev', 'lo');
    for (const mac of [macOf(accomplice), MULTICAST_MAC]) {
      node.run(confined, 'ip', 'neigh', 'replace', to, 'lladdr', mac, 'dev', 'eth0');
      assert.equal(await reaches(to, accomplice), false, `to ${to}, by ${mac}`);
    }
  }
});

test('nothing passes to the link-local address of a pod that nobody knows yet', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t, new BridgedNode());
  const [source, known, waiting] = PODS;
  assert.ok(source && known && waiting);
  const local = (pod: Ip): Ip => linkLocalOf(macOf(pod));
  await policed.become({ 3: 'isolated' }, { waiting: 2, besides: guardOfPods() });
  const reaches = (to: string): boolean => {
    try {
      policed.node.run(source, 'ping', '-c1', '-W1', '-I', `${PODS6[0]}`, to);
      return true;
    } catch {
      return false;
    }
  };
  // After duplicate address detection.
  await eventually(() => reaches(`${local(known)}%eth0`), 10_000);
  assert.equal(reaches(`${local(waiting)}%eth0`), false);
});

/** The first pod is confined to friends, the second isolated from all but these, the third a friend. */
async function isolating(t: TestContext): Promise<PolicedNode<BridgedNode>> {
  const policed = new PolicedNode(t, new BridgedNode());
  await policed.become({ 0: 'confined', 1: 'isolated', 2: 'friend' }, { besides: guardOfPods() });
  return policed;
}
