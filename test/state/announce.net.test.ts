import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { factsOf, type Plan } from '../backends/cluster.ts';
import { composedState } from '../desired/composed.ts';
import { Namespace, NO_KERNEL, Running } from './namespace.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const WRONG = '02:00:00:00:be:ef';
const POD = { containerId: 'c', labels: {}, ifName: 'eth0', hostDevice: 'veth1', netns: '/n', addresses: [] };

test('pods learn the MAC of cni0 at once after it was changed, and again a second later', {
  skip: NO_KERNEL,
}, async (t) => {
  using namespace = new Namespace(PLAN, ['veth1']);
  const pod = `${namespace.name}-pod`;
  execFileSync('ip', ['netns', 'add', pod]);
  t.after(() => execFileSync('ip', ['netns', 'del', pod]));
  const inPod = (command: string): string =>
    execFileSync('ip', ['-n', pod, ...command.split(' ')], { encoding: 'utf8' });
  namespace.ip(`link set c-veth1 netns ${pod} name eth0`);
  inPod('link set eth0 up');
  inPod('addr add 10.0.1.9/24 dev eth0');
  inPod('addr add fd10:0:0:1::9/64 dev eth0 nodad');
  using running = new Running(namespace);
  running.want(composedState({ ...factsOf(PLAN), pods: [POD] }).items);
  await running.settled();
  await sleep(500);

  const gateways = ['10.0.1.1', 'fd10:0:0:1::1'];
  const mislead = (): void => {
    for (const ip of gateways) inPod(`neigh replace ${ip} lladdr ${WRONG} nud reachable dev eth0`);
  };
  const misled = (): string[] => gateways.filter((ip) => inPod(`neigh show ${ip}`).includes(WRONG));
  mislead();
  namespace.ip(`link set cni0 address ${WRONG}`);
  await running.settled(1000);
  await sleep(300);
  assert.deepEqual(misled(), [], 'announced at once');
  mislead();
  await sleep(1200);
  assert.deepEqual(misled(), [], 'and a second later');
});
