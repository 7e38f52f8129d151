import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual, promisify } from 'node:util';
import { askAgent } from '../../../src/agent/ask.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { servedKinds } from '../../../src/kubernetes/api/discovery.ts';
import { podNetns } from '../../../src/lab/record/names.ts';
import { LabPaths } from '../../../src/lab/record/paths.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import {
  CLUSTER_NETWORK_POLICIES,
  NETWORK_POLICIES,
  PODS,
} from '../../../src/store/kubernetes/policy-kinds.ts';
import { Dnsmasq, NO_DNSMASQ } from '../../dhcp/dnsmasq.ts';
import { CRDS, NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { dnsMessage } from '../../policy/names/dns-message.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { Conversation } from '../flows/conversation.ts';
import { KubernetesCluster, NETWORK } from './cluster.ts';

const run = promisify(execFile);
const [CLUSTER_POLICIES = assert.fail()] = CLUSTER_NETWORK_POLICIES;

/** As upstream's manifest does, but for its schema. */
async function defineClusterPolicies(admin: KubernetesClient): Promise<void> {
  const { group, version, kind, plural } = CLUSTER_POLICIES;
  const names = { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() };
  const openAPIV3Schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const versions = [{ name: version, served: true, storage: true, schema: { openAPIV3Schema } }];
  // Groups below k8s.io and such are reserved.
  const annotations = {
    'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/network-policy-api',
  };
  const metadata = { name: `${plural}.${group}`, annotations };
  await admin.create(CRDS, { metadata, spec: { group, scope: 'Cluster', names, versions } });
  await eventually(async () => (await servedKinds(admin, CLUSTER_POLICIES)).size > 0);
}

test('agents enforce NetworkPolicies of a real API server', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 600_000,
}, async (t) => {
  // Of node2's pods, one resolves names.
  const policy = { logDenied: true, resolvers: ['10.244.2.0/24'] };
  const cluster = await KubernetesCluster.start(t, 2, { ...NETWORK, policy });
  const { admin } = cluster;
  await defineClusterPolicies(admin);
  for (const [i, name] of ['node1', 'node2'].entries()) {
    await cluster.register(name, `10.244.${i + 1}.0/24`);
    await cluster.startAgent(name);
  }
  for (const name of ['node1', 'node2'])
    await cluster.until(name, ({ ready, peers }) => ready && peers === 1);

  const at = { namespace: 'default' };
  const create = async (name: string, node: string): Promise<void> => {
    const object = await admin.create(PODS, {
      metadata: { ...at, name, labels: { name } },
      spec: {
        nodeName: node,
        automountServiceAccountToken: false,
        containers: [{ name: 'c', image: 'none' }],
      },
    });
    await cluster.pod(name, node);
    const status = { phase: 'Running', podIP: cluster.ip(name), podIPs: [{ ip: cluster.ip(name) }] };
    await admin.patch(PODS, { ...at, name }, 'merge', { status }, { subresource: 'status' });
    assert.ok(object.metadata.uid);
  };
  await create('web', 'node1');
  await create('near', 'node1');
  await create('far', 'node2');
  const pings = (from: string, to: string): Promise<boolean> =>
    run('ip', [
      'netns',
      'exec',
      podNetns(cluster.lab.name, 'default', from),
      'ping',
      '-n',
      '-c1',
      '-W1',
      cluster.ip(to),
    ]).then(
      () => true,
      () => false,
    );
  const become = async (from: string, to: string, reaches: boolean): Promise<void> => {
    await eventually(async () => (await pings(from, to)) === reaches, 20_000);
  };
  const isolate = (name: string, spec: object) =>
    admin.create(NETWORK_POLICIES, { metadata: { ...at, name }, spec });
  const selector = (name: string): object => ({ podSelector: { matchLabels: { name } } });

  await t.test('without a policy all reach all, and no table is there', async () => {
    for (const from of ['near', 'far']) await become(from, 'web', true);
    await assert.rejects(cluster.run('node1', 'nft', 'list', 'table', 'ip', 'flatnet-policy'));
  });

  const end = (name: string) => ({
    netns: podNetns(cluster.lab.name, 'default', name),
    ip: cluster.ip(name),
  });
  const talk = (protocol: 'tcp' | 'udp', from: string, to: string, port: number): Promise<Conversation> =>
    Conversation.start(t, protocol, end(from), { ...end(to), port });

  await t.test(
    'isolated: from the same bridge and from afar, and what was connected no longer is',
    async () => {
      const ended = await Promise.all([
        talk('tcp', 'near', 'web', 80),
        talk('tcp', 'far', 'web', 81),
        talk('udp', 'near', 'web', 82),
      ]);
      const own = await Promise.all([talk('tcp', 'web', 'near', 83), talk('udp', 'web', 'far', 84)]);
      await isolate('web', { ...selector('web'), ingress: [] });
      for (const from of ['near', 'far']) await become(from, 'web', false);
      const [near, far] = ended;
      await eventually(() => near?.client.ended !== undefined && near.server.ended !== undefined, 20_000);
      await eventually(() => far?.client.ended !== undefined && far.server.ended !== undefined, 20_000);
      await eventually(async () => {
        const before = ended.map(({ heard }) => heard);
        for (const each of own) await each.goesOn();
        return isDeepStrictEqual(
          ended.map(({ heard }) => heard),
          before,
        );
      }, 20_000);
      await become('web', 'far', true);
      await become('web', 'near', true);
      const { agentSocket } = new LabPaths(cluster.lab.name).node('node1');
      const { offload } = await askAgent(agentSocket, { op: 'policies', pod: 'default/web' });
      assert.match(offload, /^on$|^off: this kernel has no flowtables/);
      const told = await eventually(async () => {
        const { flows } = await askAgent(agentSocket, { op: 'flows' });
        const from = ['near', 'far'].map((name) => flows.find((flow) => flow.from.pod === `default/${name}`));
        return from.every(Boolean) && from;
      }, 20_000);
      for (const flow of told) {
        assert.deepEqual(
          [flow?.verdict, flow?.direction, flow?.to.pod],
          ['denied', 'ingress', 'default/web'],
        );
        assert.match(flow?.because ?? '', /NetworkPolicy default\/web isolates/);
      }
      const { policies } = await cluster.until(
        'node1',
        (status) => (status.policies?.denied.ingress ?? 0) > 0,
      );
      assert.deepEqual([policies?.policies, policies?.refused], [1, 0]);
      assert.ok((policies?.lastChange ?? 0) > 0);
    },
  );

  await t.test('allowed by a label, which another pod gets, and loses', async () => {
    await isolate('friends', {
      ...selector('web'),
      ingress: [{ from: [{ podSelector: { matchLabels: { friend: 'yes' } } }] }],
    });
    const label = (name: string, friend: string | null) =>
      admin.patch(PODS, { ...at, name }, 'merge', { metadata: { labels: { friend } } });
    await label('far', 'yes');
    await become('far', 'web', true);
    assert.equal(await pings('near', 'web'), false);
    await label('near', 'yes');
    await become('near', 'web', true);
    await label('far', null);
    await become('far', 'web', false);
  });

  await t.test(
    'an agent killed and started again leaves no gap, and a table deleted by hand returns',
    async () => {
      await cluster.restartAgent('node1');
      const seen: boolean[] = [];
      for (let i = 0; i < 10; i++) seen.push(await pings('far', 'web'));
      await cluster.until('node1', ({ ready }) => ready);
      assert.deepEqual(seen.filter(Boolean), []);
      await become('near', 'web', true);
      await cluster.run('node1', 'nft', 'delete', 'table', 'ip', 'flatnet-policy');
      await become('far', 'web', false);
    },
  );

  await t.test(
    'a pod that the API server does not know gets no network, and one it knows is protected at once',
    async () => {
      await assert.rejects(cluster.pod('stranger', 'node1'), /labels/);
      await isolate('new', { ...selector('new'), ingress: [] });
      await create('new', 'node1');
      assert.equal(await pings('near', 'new'), false);
      assert.equal(await pings('far', 'new'), false);
    },
  );

  await t.test(
    'domain names: what the pod has been told by a resolver, also to the next agent',
    {
      skip: process.env.CI ? false : NO_DNSMASQ,
    },
    async (each) => {
      const folder = mkdtempSync(join(tmpdir(), 'flatnet-names-'));
      each.after(() => rmSync(folder, { recursive: true }));
      const netnsOf = (pod: string) => podNetns(cluster.lab.name, 'default', pod);
      await using dns = new Dnsmasq(netnsOf('far'), folder);
      const records = ['--no-resolv', '--no-hosts', `--host-record=new.example.org,${cluster.ip('new')}`];
      await dns.start('--port=53', ...records);
      const pods = (labels: object) => ({ namespaceSelector: {}, podSelector: { matchLabels: labels } });
      const protocols = [{ udp: { destinationPort: { number: 53 } } }];
      const spec = {
        tier: 'Admin',
        priority: 1,
        subject: { pods: pods({ name: 'near' }) },
        egress: [
          { action: 'Accept', to: [{ pods: pods({ name: 'far' }) }], protocols },
          { action: 'Accept', to: [{ domainNames: ['*.example.org'] }] },
          { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
        ],
      };
      await admin.delete(NETWORK_POLICIES, { ...at, name: 'new' });
      await admin.create(CLUSTER_POLICIES, { metadata: { name: 'names' }, spec });
      await become('far', 'new', true);
      await become('near', 'new', false);
      await cluster.until('node1', ({ names }) => names?.observed !== undefined);
      using socket = UdpSocket.open(netnsPath(netnsOf('near')));
      const question = dnsMessage({ flags: 0x0100, question: 'new.example.org', records: [] });
      socket.send(question, { ip: cluster.ip('far'), port: 53 });
      await become('near', 'new', true);
      assert.equal(await pings('near', 'far'), false);
      const { names } = await cluster.until('node1', ({ ready }) => ready);
      assert.deepEqual([names?.names, names?.addresses], [1, 1]);
      await cluster.restartAgent('node1');
      const seen: boolean[] = [];
      for (let i = 0; i < 5; i++) seen.push(await pings('near', 'new'));
      await cluster.until('node1', ({ ready }) => ready);
      assert.ok(!seen.includes(false), `${seen}`);
      await become('near', 'far', false);
      assert.equal(await pings('near', 'new'), true);
      await admin.delete(CLUSTER_POLICIES, { name: 'names' });
    },
  );

  await t.test('without policies everything is as before', async () => {
    for (const name of ['web', 'friends']) await admin.delete(NETWORK_POLICIES, { ...at, name });
    for (const from of ['near', 'far']) for (const to of ['web', 'new']) await become(from, to, true);
    const { problems } = await cluster.until('node1', ({ ready }) => ready);
    assert.deepEqual(problems, []);
    await assert.rejects(cluster.run('node1', 'nft', 'list', 'table', 'ip', 'flatnet-policy'));
  });
});
