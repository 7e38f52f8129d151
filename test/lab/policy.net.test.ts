import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Lab } from '../../src/lab/record/lab.ts';
import { podNetns } from '../../src/lab/record/names.ts';
import type { Explanation } from '../../src/policy/explain/explain.ts';
import { PolicyKeys } from '../../src/store/etcd/policy-keys.ts';
import { DEFAULT_PREFIX } from '../../src/store/open.ts';
import { withKv } from '../store/lab.ts';
import { eventually } from '../store/servers.ts';
import { CANNOT, FLATNET, TestLab } from './host.ts';

const run = promisify(execFile);

type Pod = { readonly addresses: readonly string[] };

const policy = (name: string, spec: object, namespace = 'default'): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});
const ofWeb = { podSelector: { matchLabels: { app: 'web' } } };
const isolated = policy('web', ofWeb);
const friends = policy('friends', {
  ...ofWeb,
  ingress: [
    {
      from: [
        {
          namespaceSelector: { matchLabels: { team: 'a' } },
          podSelector: { matchLabels: { role: 'client' } },
        },
      ],
      ports: [{ port: 80 }],
    },
  ],
});
const namespace = (team: string): object => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'team', labels: { team } },
});

for (const wiring of ['bridge', 'routed']) {
  describe(`policies from a lab’s store, ${wiring}`, { skip: CANNOT }, () => {
    const lab = new TestLab({ after }, `y${wiring[0]}`);
    const file = `/tmp/${lab.name}.json`;
    after(() => rmSync(file, { force: true }));
    before(async () => {
      await lab.ok('up', '--policy', '--nodes', '2', '--wiring', wiring);
      await create('web', 'node1', '--label', 'app=web', '--listen', '80');
      await create('near', 'node1');
      await create('far', 'node2');
      await create('team/near', 'node1', '--label', 'role=client');
      await create('team/far', 'node2', '--label', 'role=client');
    });

    const apply = (...objects: readonly object[]): Promise<string> => {
      writeFileSync(file, JSON.stringify({ kind: 'List', apiVersion: 'v1', items: objects }));
      return lab.ok('apply', '-f', file);
    };
    const remove = async (...objects: readonly object[]): Promise<string> => {
      writeFileSync(file, JSON.stringify({ kind: 'List', apiVersion: 'v1', items: objects }));
      return lab.ok('delete', '-f', file);
    };
    const addresses = new Map<string, string>();
    const create = async (name: string, node: string, ...more: readonly string[]): Promise<void> => {
      const pod = await lab.json<Pod>('pod', 'create', name, '--node', node, ...more);
      addresses.set(name, pod.addresses[0] ?? assert.fail('it has no address'));
    };
    const reaches = async (from: string, to = 'web'): Promise<boolean> => {
      const [ns, name = ''] = from.includes('/') ? from.split('/') : ['default', from];
      const connect = `exec 3<>/dev/tcp/${addresses.get(to)}/80`;
      const argv = [
        'netns',
        'exec',
        podNetns(lab.name, ns ?? '', name),
        'timeout',
        '0.5',
        'bash',
        '-c',
        connect,
      ];
      return run('ip', argv).then(
        () => true,
        () => false,
      );
    };
    const ALL = ['near', 'far', 'team/near', 'team/far'];
    /** As the agent of a node explains it. */
    const explained = async (from: string, node: string): Promise<string> => {
      const { verdict, ends } = await flatnet(
        'policy',
        'explain',
        from,
        'web',
        '--port',
        '80',
        '--node',
        node,
      );
      return `${verdict}: ${ends.map(({ because }) => because).join('; ')}`;
    };
    const flatnet = async (...args: readonly string[]): Promise<Explanation> => {
      const argv = [...args, '--lab', lab.name, '--json'];
      const { stdout } = await run(FLATNET, argv).catch((error: { stdout: string }) => error);
      return JSON.parse(stdout);
    };
    /** Waits until just these reach it. */
    const become = (...allowed: readonly string[]): Promise<unknown> =>
      eventually(async () => {
        const seen = await Promise.all(ALL.map((from) => reaches(from)));
        return ALL.every((from, i) => seen[i] === allowed.includes(from));
      });

    test('isolation, namespaces and labels, and a policy that goes', async () => {
      await become(...ALL);
      assert.match(await apply(isolated), /networkpolicy\/web created/);
      await become();
      assert.match(
        await apply(isolated, friends, namespace('a')),
        /networkpolicy\/web unchanged\n.*friends created/,
      );
      await become('team/near', 'team/far');
      for (const node of ['node1', 'node2']) {
        assert.match(
          await explained('near', node),
          /^denied: .*NetworkPolicy default\/friends, .* isolate the pod/,
        );
        assert.match(
          await explained('team/far', node),
          /^allowed: .*default\/friends, ingress\[0\], allows it/,
        );
      }
      await apply(namespace('b'));
      await become();
      await apply(namespace('a'));
      await become('team/near', 'team/far');
      assert.match(await remove(friends), /networkpolicy\/friends deleted/);
      await become();
      assert.match(await remove(isolated, friends), /web deleted\n.*friends absent/);
      await become(...ALL);
    });

    test('a new pod is protected at once, and one that goes is forgotten', async () => {
      await apply(isolated);
      await create('web2', 'node2', '--label', 'app=web', '--listen', '80');
      for (const from of ['near', 'far']) assert.equal(await reaches(from, 'web2'), false, from);
      await lab.ok('pod', 'delete', 'web2');
      const keys = new PolicyKeys(DEFAULT_PREFIX);
      const pods = () =>
        withKv(Lab.open(lab.name), async (kv) => (await kv.list(keys.pods('node2'))).items.length);
      await eventually(async () => (await pods()) === 2);
    });

    // Once is enough: it is the agent’s business, whatever the wiring.
    if (wiring === 'routed') return;
    test('neither an agent’s restart nor the store’s end opens anything', async () => {
      await apply(isolated, friends);
      await become('team/near', 'team/far');
      await lab.ok('node', 'restart', 'node1', '--kill');
      for (const from of ALL) assert.equal(await reaches(from), from.startsWith('team/'), from);
      await lab.ok('store', 'stop');
      for (const from of ALL) assert.equal(await reaches(from), from.startsWith('team/'), from);
      const { status, stderr } = await lab.run('pod', 'create', 'late', '--node', 'node1');
      assert.notEqual(status, 0);
      assert.match(stderr, /labels/);
      await lab.ok('store', 'start');
      await lab.ok('pod', 'create', 'late', '--node', 'node1');
      await become('team/near', 'team/far');
      await eventually(async () => (await lab.run('status')).status === 0);
    });

    test('policies go after the pods that they protect', async () => {
      const template = {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'c', image: 'none' }] },
      };
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        ...template,
        metadata: { name: 'web3', labels: { app: 'web' } },
      };
      const spec = { selector: { matchLabels: { app: 'web' } }, template };
      const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web4' }, spec };
      const all = [isolated, pod, deployment];
      await apply(...all);
      const pods = async (): Promise<string> => (await lab.run('status')).stdout;
      assert.match(await pods(), /web3.*\n.*web4-/);
      // A policy cannot be deleted now: what goes before it is gone nevertheless.
      await lab.ok('store', 'stop');
      writeFileSync(file, JSON.stringify({ kind: 'List', apiVersion: 'v1', items: all }));
      assert.notEqual((await lab.run('delete', '-f', file)).status, 0);
      assert.doesNotMatch(await pods(), /web3|web4-/);
      await lab.ok('store', 'start');
      assert.equal(
        await remove(...all),
        'networkpolicy/web deleted\npod/web3 absent\ndeployment.apps/web4 absent\n',
      );
    });
  });
}
