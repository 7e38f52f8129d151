import assert from 'node:assert/strict';
import { test } from 'node:test';
import { list } from '../../../src/kubernetes/api/list.ts';
import { asJson } from '../../../src/kubernetes/api/object.ts';
import { EVENTS } from '../../../src/kubernetes/events/event.ts';
import { problemText } from '../../../src/problem.ts';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { KubernetesCluster } from './cluster.ts';

test('agents with nothing but the Kubernetes API: pods reach each other, an outage loses nothing, bad podCIDRs harm only their node', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 600_000,
}, async (t) => {
  const cluster = await KubernetesCluster.start(t, 4);
  const { server, admin } = cluster;
  const good = ['node1', 'node2', 'node3'];
  for (const [i, name] of good.entries()) await cluster.register(name, `10.244.${i + 1}.0/24`);
  await cluster.register('node4');
  for (const name of [...good, 'node4']) await cluster.startAgent(name);
  for (const [i, name] of good.entries()) {
    const { subnets } = await cluster.until(name, ({ ready, peers }) => ready && peers === 2);
    assert.deepEqual(subnets, [`10.244.${i + 1}.0/24`]);
    await cluster.pod(`on-${name}`, name);
  }
  for (const from of good)
    for (const to of good) assert.ok(await cluster.reaches(`on-${from}`, `on-${to}`), `${from} → ${to}`);
  const up = { status: 'False', reason: 'FlatnetIsUp' };
  const condition = (name: string, wanted: { status: string; reason: string }) =>
    eventually(async () => {
      const { status, reason, message } = await cluster.condition(name);
      return status === wanted.status && reason === wanted.reason && String(message);
    });
  for (const name of good) await condition(name, up);

  await t.test('a Node without a podCIDR is told what to set', async () => {
    const { notReady } = await cluster.until(
      'node4',
      (status) => status.notReady?.includes('podCIDR') === true,
    );
    assert.match(
      notReady ?? '',
      /Node node4: spec.podCIDR is not set.*--allocate-node-cidrs --cluster-cidr=10\.244\.0\.0\/16/,
    );
    assert.match(await condition('node4', { status: 'True', reason: 'NoSubnet' }), /--allocate-node-cidrs/);
    // And in an Event, which `kubectl describe node` shows.
    const note = await eventually(async () => {
      const { items } = await list(admin, EVENTS, asJson);
      const about = items.find(({ regarding }) => asJson(regarding).name === 'node4');
      return about?.reason === 'NoSubnet' && String(about.note);
    });
    assert.match(note, /--allocate-node-cidrs/);
  });

  await t.test(
    'the API server is killed, and comes back: nothing is lost, and new pods start meanwhile',
    async () => {
      const ping = cluster.ping(t, 'on-node1', 'on-node2');
      await server.kill();
      const { store } = await cluster.until('node3', ({ problems }) =>
        problems.some(({ id }) => id === 'store-unreachable'),
      );
      assert.equal(store.connected, false);
      await cluster.restartAgent('node3');
      await cluster.until('node3', ({ ready }) => ready);
      await cluster.pod('new', 'node3');
      assert.ok(await cluster.reaches('on-node1', 'new'));
      await server.launch();
      for (const name of good)
        await cluster.until(name, ({ store, problems }) => store.connected && problems.length === 0);
      const { sent, lost } = await ping.end();
      t.diagnostic(`${sent} pings, ${lost.length} lost`);
      assert.ok(sent > 100);
      assert.deepEqual(lost, []);
    },
  );

  await t.test('podCIDRs that no node may have harm their own node alone', async () => {
    const ping = cluster.ping(t, 'on-node1', 'on-node3');
    for (const [cidr, reason] of [
      ['10.99.0.0/24', /outside the network/],
      ['10.244.0.0/17', /too large for a node/],
      ['10.244.1.0/24', /overlaps 10\.244\.1\.0\/24 of node1, which is older/],
    ] as const) {
      await admin.delete(NODES, { name: 'node4' });
      await cluster.register('node4', cidr);
      const { notReady } = await cluster.until('node4', (status) => reason.test(status.notReady ?? ''));
      assert.match(
        notReady ?? '',
        /spec.podCIDRs of Node node4: .*; delete the Node and restart its kubelet/,
      );
      const { problems, ready } = await cluster.until('node1', (status) =>
        status.problems.some(({ cause }) => reason.test(cause ?? '')),
      );
      assert.ok(ready);
      assert.match(problems.map(problemText).join('\n'), /spec.podCIDRs of Node node4 is ignored/);
    }
    assert.deepEqual((await ping.end()).lost, []);
  });

  await t.test(
    'a Node that returns with a good podCIDR takes pods; one that is deleted is gone',
    async () => {
      await admin.delete(NODES, { name: 'node4' });
      await cluster.register('node4', '10.244.4.0/24');
      await cluster.until('node4', ({ ready }) => ready);
      await cluster.pod('late', 'node4');
      assert.ok(await cluster.reaches('on-node2', 'late'));
      await condition('node4', up);
      await admin.delete(NODES, { name: 'node4' });
      await cluster.register('node4', '10.244.5.0/24');
      // In an Event of the pod, which `kubectl describe pod` shows.
      const event = await eventually(async () => {
        const { items } = await list(admin, EVENTS, asJson, { namespace: 'default' });
        return items.find(({ regarding }) => asJson(regarding).kind === 'Pod');
      }, 60_000);
      assert.partialDeepStrictEqual(event, {
        reason: 'PodsOfFormerSubnets',
        regarding: { name: 'late', namespace: 'default' },
      });
      assert.match(`${event.note}`, /^its address 10\.244\.4\.\d+ is of a subnet .*; delete the pods/);
      await admin.delete(NODES, { name: 'node4' });
      await cluster.until('node1', ({ peers }) => peers === 2);
      await cluster.until('node4', ({ ready }) => !ready);
    },
  );

  await t.test(
    'garbage in a Node’s annotations: the last good values stay in force, and its agent corrects them',
    async () => {
      const ping = cluster.ping(t, 'on-node2', 'on-node3');
      const annotations = {
        'flannel.alpha.coreos.com/public-ip': 'nonsense',
        'flannel.alpha.coreos.com/backend-data': '[[[',
        'flatnet.dev/node': '{"name":"node9"}',
      };
      await admin.patch(NODES, { name: 'node3' }, 'merge', { metadata: { annotations } });
      const corrected = async (): Promise<boolean> => {
        const { metadata } = await admin.get(NODES, { name: 'node3' });
        return metadata.annotations?.['flannel.alpha.coreos.com/public-ip'] !== 'nonsense';
      };
      await eventually(corrected);
      assert.deepEqual((await ping.end()).lost, []);
    },
  );
});
