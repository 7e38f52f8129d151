import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { EVENTS } from '../../../src/kubernetes/events/event.ts';
import { SILENT } from '../../../src/log.ts';
import { KubernetesStore } from '../../../src/store/kubernetes/store.ts';
import { ApiServer, forSuite, NO_API_SERVER, NODES, PODS } from '../../kubernetes/api-server.ts';
import { component } from '../../kubernetes/nodes/component.ts';
import { serviceAccount } from '../../kubernetes/service-account.ts';
import { agentToken, NAMESPACE } from '../../store/kubernetes/rights.ts';
import { facts, LEASES } from '../../store/ports/facts.ts';
import { eventually } from '../../store/servers.ts';

const BIN = resolve(import.meta.dirname, '../../../bin');

type Ran = { readonly status: number; readonly out: string; readonly err: string };

describe('kubectl flatnet', { skip: NO_API_SERVER }, () => {
  let server: ApiServer;
  let admin: KubernetesClient;
  const life = forSuite();
  before(async () => {
    server = await ApiServer.start(life);
    admin = server.client(life);
    const agent = await agentToken(admin);
    for (const i of [1, 2, 3]) {
      const podCIDR = `10.5.${i}.0/24`;
      await admin.create(NODES, { metadata: { name: `node${i}` }, spec: { podCIDR, podCIDRs: [podCIDR] } });
      await setConditions(`node${i}`, [{ type: 'Ready', status: 'True' }]);
    }
    const operator = new KubernetesStore(server.access(), { namespace: NAMESPACE }, SILENT);
    await operator.network.write(LEASES);
    operator.close();
    const store = new KubernetesStore(server.access(agent), { namespace: NAMESPACE }, SILENT);
    const { membership } = store;
    for (const i of [1, 2]) {
      (await membership.join(facts(i))).stop();
      await membership.announce(`node${i}`, undefined);
    }
    membership.note('node2', { reason: 'RouteInTheWay', message: 'a route is\u001b[31m in the way' });
    const events = async (): Promise<boolean> =>
      (await list(admin, EVENTS, () => true, { namespace: 'default' })).items.length > 0;
    await eventually(events);
    store.close();
    await agentPod('agent-1', 'node1', 'True');
    await agentPod('agent-2', 'node2', 'True');
  });

  const setConditions = (name: string, conditions: readonly object[]): Promise<unknown> =>
    admin.patch(NODES, { name }, 'strategic', { status: { conditions } }, { subresource: 'status' });

  async function agentPod(name: string, node: string, ready: string): Promise<void> {
    const metadata = { name, namespace: NAMESPACE, labels: { app: 'flatnet' } };
    const containers = [{ name: 'agent', image: 'flatnet' }];
    await admin.create(PODS, { metadata, spec: { nodeName: node, containers } });
    await setReady(name, ready);
  }

  const setReady = (name: string, status: string): Promise<unknown> => {
    const patch = { status: { conditions: [{ type: 'Ready', status }] } };
    return admin.patch(PODS, { name, namespace: NAMESPACE }, 'strategic', patch, { subresource: 'status' });
  };

  const path = (): string => [BIN, dirname(component('kubectl')), process.env.PATH].join(':');

  const kubeconfigOf = (token: string): string => readFileSync(server.kubeconfig(token), 'utf8');

  /** As kubectl finds it: on the PATH. */
  async function kubectl(token: string, ...words: string[]): Promise<Ran> {
    const env = { ...process.env, PATH: path(), KUBECONFIG: server.kubeconfig(token) };
    try {
      const { stdout, stderr } = await promisify(execFile)(component('kubectl'), ['flatnet', ...words], {
        env,
      });
      return { status: 0, out: stdout, err: stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { status: code, out: stdout, err: stderr };
    }
  }

  test('status names what is wrong with each node, and exits with 1 if anything is', async () => {
    const ran = await kubectl('token-of-admin', 'status');
    assert.equal(ran.status, 1, ran.err);
    const lines = ran.out.split('\n');
    assert.deepEqual(lines.slice(0, 4), [
      'NODE   STATE     AGENT  NETWORK      PODCIDRS     UNDERLAY   BACKEND',
      'node1  well      ready  FlatnetIsUp  10.5.1.0/24  192.0.2.1  vxlan',
      'node2  well      ready  FlatnetIsUp  10.5.2.0/24  192.0.2.2  vxlan',
      'node3  not well  none   -            10.5.3.0/24  -          -',
    ]);
    assert.match(ran.out, /^! node3: no agent has been here$/m);
    assert.match(ran.out, /^ {2}node2 noted at \S+: RouteInTheWay: a route is \[31m in the way$/m);
    await admin.delete(NODES, { name: 'node3' });
    assert.equal((await kubectl('token-of-admin', 'status')).status, 0);

    await setReady('agent-1', 'False');
    await setConditions('node2', [
      { type: 'NetworkUnavailable', status: 'True', reason: 'NoSubnet', message: 'spec.podCIDR is not set' },
    ]);
    const json = await kubectl('token-of-admin', 'status', '--json');
    assert.equal(json.status, 1);
    const nodes = JSON.parse(json.out) as { problems: string[] }[];
    assert.deepEqual(
      nodes.map(({ problems }) => problems),
      [['its agent’s pod agent-1 is not ready'], ['NoSubnet: spec.podCIDR is not set']],
    );
    await setConditions('node1', [{ type: 'Ready', status: 'Unknown' }]);
    const silent = await kubectl('token-of-admin', 'status');
    assert.match(silent.out, /^! node1: its kubelet does not answer: nothing here is known to be current$/m);
  });

  test('what the user may not see is said, not guessed', async () => {
    const nodesOnly = [{ apiGroups: [''], resources: ['nodes'], verbs: ['list'] }];
    const token = await serviceAccount(admin, 'viewer', nodesOnly);
    const { out, err } = await kubectl(token, 'status');
    assert.match(out, /^node2 .* unknown /m);
    assert.match(err, /warning: the agents’ pods are not shown: .*allow .* the verb list on pods/);
    assert.match(err, /warning: Events of nodes are not shown/);
    const nobody = await kubectl(await serviceAccount(admin, 'nobody', []), 'status');
    assert.equal(nobody.status, 1);
    assert.match(nobody.err, /the verb list on nodes/);
  });

  test('in a pod, it is the user that kubectl is: the service account where no kubeconfig selects a context', async () => {
    const folder = join(server.folder, 'pod');
    const account = join(folder, 'account');
    for (const each of [account, join(folder, '.kube')]) mkdirSync(each, { recursive: true });
    const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
    write('account/token', await serviceAccount(admin, 'pod', []));
    write('account/namespace', 'default');
    copyFileSync(server.ca, join(account, 'ca.crt'));
    write('named', kubeconfigOf(await serviceAccount(admin, 'named', [])));
    const env = {
      PATH: path(),
      HOME: folder,
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: `${server.port}`,
    };
    /** In a mount namespace with the folder that the kubelet mounts. */
    const inPod = [
      'mount -t tmpfs none /run',
      'mkdir -p /run/secrets/kubernetes.io',
      `cp -r ${account} /run/secrets/kubernetes.io/serviceaccount`,
      'exec "$@"',
    ].join(' && ');
    const user = async (more: object, ...words: string[]): Promise<string | undefined> => {
      const argv = ['--mount', 'sh', '-c', inPod, 'sh', component('kubectl'), ...words];
      const run = promisify(execFile)('unshare', argv, { env: { ...env, ...more } });
      const { stderr } = await run.catch((error: { stderr: string }) => error);
      return /serviceaccount:default:(\w+)/.exec(stderr)?.[1] ?? stderr;
    };
    const both = async (more: object = {}) => [
      await user(more, 'get', 'nodes'),
      await user(more, 'flatnet', 'status'),
    ];
    assert.deepEqual(await both(), ['pod', 'pod']);
    write('.kube/config', 'apiVersion: v1\nkind: Config\n');
    assert.deepEqual(await both(), ['pod', 'pod']);
    write('.kube/config', kubeconfigOf(await serviceAccount(admin, 'home', [])));
    assert.deepEqual(await both(), ['home', 'home']);
    assert.deepEqual(await both({ KUBECONFIG: join(folder, 'named') }), ['named', 'named']);
    assert.deepEqual(await both({ KUBECONFIG: join(folder, 'missing') }), ['pod', 'pod']);
  });

  test('a node without an agent’s pod is asked in vain', async () => {
    const { status, err } = await kubectl('token-of-admin', 'node', 'node9', '--', 'diff');
    assert.equal(status, 1);
    assert.match(err, /node node9: has no pod with an agent; .*flatnet diff/);
  });
});
