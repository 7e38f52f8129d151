import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { deletePod } from '../../../src/lab/pods/pod.ts';
import { readPod } from '../../../src/lab/pods/record.ts';
import { podNetns } from '../../../src/lab/record/names.ts';
import { NETWORK_POLICIES, PODS } from '../../../src/store/kubernetes/policy-kinds.ts';
import { NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { Flood } from '../flows/flood.ts';
import { Probe } from '../probe.ts';
import { KubernetesCluster, NETWORK } from './cluster.ts';

const run = promisify(execFile);
/** Milliseconds in which an agent repairs a table that somebody has flushed, and ends what that let in. */
const REPAIR = 3000;

test('whatever happens, nothing passes that policies deny, and nothing is lost of what they allow', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 600_000,
}, async (t) => {
  const cluster = await KubernetesCluster.start(t, 2, { ...NETWORK, policy: true });
  const { admin } = cluster;
  for (const [i, name] of ['node1', 'node2'].entries()) {
    // Few addresses, so that one is soon used again.
    await cluster.register(name, `10.244.${i + 1}.0/28`);
    await cluster.startAgent(name);
  }
  for (const name of ['node1', 'node2'])
    await cluster.until(name, ({ ready, peers }) => ready && peers === 1);

  const at = { namespace: 'default' };
  const netns = (name: string): string => podNetns(cluster.lab.name, 'default', name);
  const create = async (name: string, node: string, labels: Record<string, string>): Promise<void> => {
    const spec = {
      nodeName: node,
      automountServiceAccountToken: false,
      containers: [{ name: 'c', image: 'none' }],
    };
    await admin.create(PODS, { metadata: { ...at, name, labels }, spec });
    await cluster.pod(name, node);
    const status = { phase: 'Running', podIP: cluster.ip(name), podIPs: [{ ip: cluster.ip(name) }] };
    await admin.patch(PODS, { ...at, name }, 'merge', { status }, { subresource: 'status' });
  };
  const remove = async (name: string): Promise<void> => {
    const record = readPod(cluster.lab, 'default', name) ?? assert.fail(name);
    await deletePod(cluster.lab, record);
    const status = { phase: 'Succeeded' };
    await admin.patch(PODS, { ...at, name }, 'merge', { status }, { subresource: 'status' });
  };
  const policy = (name: string, spec: object) =>
    admin.apply(NETWORK_POLICIES, { metadata: { ...at, name }, spec }, { fieldManager: 'test', force: true });
  const pods = (labels: Record<string, string>): object => ({ podSelector: { matchLabels: labels } });

  await create('web', 'node1', { app: 'web' });
  await create('near', 'node1', { friend: 'yes' });
  await create('far', 'node2', { friend: 'yes' });
  await create('foe', 'node1', {});
  await create('stranger', 'node2', {});
  await policy('sealed', { ...pods({ app: 'sealed' }), policyTypes: ['Ingress'] });
  await policy('web', { ...pods({ app: 'web' }), ingress: [{ from: [pods({ friend: 'yes' })] }] });
  await eventually(async () => !(await reaches('foe')) && !(await reaches('stranger')), 20_000);
  async function reaches(from: string): Promise<boolean> {
    const ping = ['netns', 'exec', netns(from), 'ping', '-n', '-c1', '-W1', cluster.ip('web')];
    return run('ip', ping).then(
      () => true,
      () => false,
    );
  }

  const denied = await Flood.start(t, netns('web'));
  for (const from of ['foe', 'stranger']) denied.send(netns(from), cluster.ip('web'));
  const ends = ['web', 'near', 'far'].map((name) => ({
    name,
    netns: netns(name),
    addresses: [cluster.ip(name)],
  }));
  const allowed = await Probe.start(t, ends);

  await t.test('edits of policies, and of labels', async () => {
    const friends = { podSelector: { matchExpressions: [{ key: 'friend', operator: 'Exists' }] } };
    const blocks = Array.from({ length: 40 }, (_, i) => ({ ipBlock: { cidr: `192.0.2.${i}/32` } }));
    for (const from of [[friends], [pods({ friend: 'yes' }), ...blocks], [friends], blocks.slice(1)]) {
      await policy('web', {
        ...pods({ app: 'web' }),
        ingress: [{ from: [pods({ friend: 'yes' }), ...from] }],
      });
      await policy('foe', { ...pods({ enemy: 'yes' }), policyTypes: ['Egress'] });
      for (const enemy of ['yes', null])
        await admin.patch(PODS, { ...at, name: 'foe' }, 'merge', { metadata: { labels: { enemy } } });
      await admin.delete(NETWORK_POLICIES, { ...at, name: 'foe' });
      await sleep(300);
    }
    assert.deepEqual(denied.heard, []);
  });

  await t.test('an agent that is killed, and starts', async () => {
    for (let i = 0; i < 2; i++) {
      await cluster.restartAgent('node1');
      await cluster.until('node1', ({ ready }) => ready);
      await sleep(300);
    }
    assert.deepEqual(denied.heard, []);
  });

  await t.test('an address that a pod without policies had, and one with policies has next', async () => {
    await create('old', 'node1', {});
    const [ip, former] = [cluster.ip('old'), await Flood.start(t, netns('old'))];
    for (const from of ['foe', 'stranger']) former.send(netns(from), ip);
    await eventually(() => former.heard.length > 10, 20_000);
    await remove('old');
    let name = '';
    for (let i = 0; i < 20 && (name === '' || cluster.ip(name) !== ip); i++) {
      if (name !== '') await remove(name);
      name = `sealed${i}`;
      await create(name, 'node1', { app: 'sealed' });
    }
    assert.equal(cluster.ip(name), ip);
    await sleep(1000);
    const { stdout } = await run('ip', ['netns', 'exec', netns(name), 'cat', '/proc/net/snmp']);
    const [, heads = '', values = ''] = /^Udp: (.*)\nUdp: (.*)$/m.exec(stdout) ?? [];
    const counts = new Map(heads.split(' ').map((head, i) => [head, values.split(' ')[i]]));
    assert.deepEqual([counts.get('InDatagrams'), counts.get('NoPorts')], ['0', '0']);
  });

  await t.test('tables flushed and deleted by hand: repaired soon, and what that let in ends', async () => {
    for (const verb of ['flush', 'delete']) {
      const begin = Date.now();
      await cluster.run('node1', 'nft', verb, 'table', 'ip', 'flatnet-policy');
      await sleep(REPAIR + 1000);
      const late = denied.heard.filter((when) => when > begin + REPAIR);
      assert.deepEqual(late, [], verb);
      const last = denied.heard.at(-1) ?? begin;
      t.diagnostic(`${verb}: the last wrongly delivered packet after ${last - begin} ms`);
    }
  });

  const { sent, lost } = await allowed.end();
  t.diagnostic(`${sent} packets between those that may`);
  assert.deepEqual(lost, []);
});
