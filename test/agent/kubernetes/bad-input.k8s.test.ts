import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemText } from '../../../src/problem.ts';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { agentToken, without } from '../../store/kubernetes/rights.ts';
import { KubernetesCluster } from './cluster.ts';

const GOOD = ['node1', 'node2'];

/** Two good nodes with a pod each. */
async function start(nodes: number, t: Parameters<typeof KubernetesCluster.start>[0]) {
  const cluster = await KubernetesCluster.start(t, nodes);
  for (let i = 1; i <= nodes; i++) await cluster.register(`node${i}`, `10.244.${i}.0/24`);
  for (const name of GOOD) await cluster.startAgent(name);
  for (const name of GOOD) {
    await cluster.until(name, ({ ready, peers }) => ready && peers === 1);
    await cluster.pod(`on-${name}`, name);
  }
  return cluster;
}

type Right = readonly [kind: 'ClusterRole' | 'Role', resource: string, verb: string];

/** What an agent lacks, and the reason for which it takes no pods; undefined: it takes them nevertheless. */
const RIGHTS: readonly (readonly [...Right, reason: string | undefined])[] = [
  ['ClusterRole', 'nodes/status', 'patch', 'NoSubnet'],
  ['ClusterRole', 'nodes', 'get', 'NoSubnet'],
  ['ClusterRole', 'nodes', 'list', 'NoNetwork'],
  ['ClusterRole', 'nodes', 'watch', undefined],
  ['Role', 'configmaps', 'get', 'NoNetwork'],
  ['Role', 'configmaps', 'list', 'NoNetwork'],
  ['Role', 'configmaps', 'watch', undefined],
];

test('an agent that lacks a right says which; the others’ pods lose nothing', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 500_000,
}, async (t) => {
  const cluster = await start(3, t);
  const { admin } = cluster;
  const ping = cluster.ping(t, 'on-node1', 'on-node2');
  for (const [kind, resource, verb, reason] of RIGHTS) {
    await t.test(`${verb} on ${resource}`, async () => {
      const names = new RegExp(`cannot ${verb} resource "${resource}".*the verb ${verb} on ${resource}`);
      await agentToken(admin, without(kind, resource, verb));
      await cluster.forgetAll('node3');
      await cluster.startAgent('node3');
      const { ready } = await cluster.until('node3', ({ notReady, problems, ready }) => {
        const said = [notReady ?? '', ...problems.map(problemText)].join('\n');
        return names.test(said) && ready === (reason === undefined);
      });
      assert.equal(ready, reason === undefined);
      // The condition itself needs two of the rights.
      const isTold = resource !== 'nodes/status' && verb !== 'get';
      // It may still be that of the right before.
      if (reason !== undefined && isTold) await cluster.untilCondition('node3', reason, names);
      const told = await cluster.untilEvent('node3', names);
      assert.match(told, new RegExp(`^(${reason}|StoreUnreachable|SubnetsUnconfirmed): `));
      await agentToken(admin);
      await cluster.until(
        'node3',
        ({ ready, problems, peers }) => ready && problems.length === 0 && peers === 2,
      );
    });
  }
  assert.deepEqual((await ping.end()).lost, []);
});

const ANNOTATION = 'flannel.alpha.coreos.com/';
const vtep = (mac: string): string => JSON.stringify({ VNI: 1, VtepMAC: mac });
const MAC = '0a:00:00:00:00:01';

/** Nodes that others have written, or half of them, by flannel's annotations, and what is said of each. */
const HALVES: readonly (readonly [
  name: string,
  podCIDR: string | undefined,
  annotations: Readonly<Record<string, string>>,
  said: RegExp | undefined,
])[] = [
  ['only-managed', '10.244.50.0/24', { 'kube-subnet-manager': 'true' }, undefined],
  [
    'no-data',
    '10.244.51.0/24',
    { 'kube-subnet-manager': 'true', 'backend-type': 'vxlan', 'public-ip': '172.30.0.201' },
    /no-data/,
  ],
  [
    'no-pod-cidr',
    undefined,
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'public-ip': '172.30.0.202',
      'backend-data': vtep(MAC),
    },
    undefined,
  ],
  [
    'other-backend',
    '10.244.53.0/24',
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'wireguard',
      'public-ip': '172.30.0.203',
      'backend-data': '{"PublicKey":"x","Port":1}',
    },
    /other-backend.*wireguard/,
  ],
  [
    'not-an-address',
    '10.244.54.0/24',
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'public-ip': '\u001b[31m',
      'backend-data': vtep(MAC),
    },
    /not-an-address.*public-ip/,
  ],
  [
    'cut-off',
    '10.244.55.0/24',
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'public-ip': '172.30.0.205',
      'backend-data': '{"VNI":1,"Vtep',
    },
    /cut-off.*backend-data/,
  ],
  [
    'no-unicast',
    '10.244.56.0/24',
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'public-ip': '172.30.0.206',
      'backend-data': vtep('01:00:5e:00:00:01'),
    },
    /no-unicast/,
  ],
  [
    'as-node1',
    '10.244.57.0/24',
    {
      'kube-subnet-manager': 'true',
      'backend-type': 'vxlan',
      'public-ip': '172.30.0.11',
      'backend-data': vtep(MAC),
    },
    undefined,
  ],
  ['other-family', '2001:db8:1::/64', { 'kube-subnet-manager': 'true' }, undefined],
];

test('half-written and foreign Nodes are named, and cost the others nothing', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 200_000,
}, async (t) => {
  const cluster = await start(2, t);
  const { admin } = cluster;
  const ping = cluster.ping(t, 'on-node1', 'on-node2');
  const annotated = (annotations: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(annotations).map(([key, value]) => [ANNOTATION + key, value]));
  for (const [name, podCIDR, annotations] of HALVES) {
    const spec = podCIDR === undefined ? {} : { podCIDR, podCIDRs: [podCIDR] };
    await admin.create(NODES, { metadata: { name, annotations: annotated(annotations) }, spec });
  }
  const said = ({ problems }: { problems: readonly Parameters<typeof problemText>[0][] }): string =>
    problems.map(problemText).join('\n');
  for (const [name, , , expected] of HALVES) {
    if (!expected) continue;
    await t.test(name, async () => {
      const status = await cluster.until('node2', (status) => expected.test(said(status)));
      assert.ok(status.ready);
      assert.ok(!said(status).includes('\u001b'), 'foreign text cannot steer a terminal');
    });
  }
  await cluster.until('node1', (status) =>
    /as-node1 publishes this node’s public address/.test(said(status)),
  );
  const events = await cluster.untilEvent('node2', /cut-off.*backend-data/);
  assert.match(events, /^StoreKeyIgnored: /);
  for (const name of GOOD) assert.equal((await cluster.condition(name)).reason, 'FlatnetIsUp');
  for (const [name] of HALVES) await admin.delete(NODES, { name });
  for (const name of GOOD)
    await cluster.until(name, ({ problems, peers }) => problems.length === 0 && peers === 1);
  assert.deepEqual((await ping.end()).lost, []);
});

test('a podCIDR of another family: what to set is said on the node', {
  skip: NO_API_SERVER || NO_KERNEL,
  timeout: 120_000,
}, async (t) => {
  const cluster = await KubernetesCluster.start(t, 1);
  await cluster.register('node1', '2001:db8:1::/64');
  await cluster.startAgent('node1');
  const message = await cluster.untilCondition('node1', 'NoSubnet');
  assert.match(message, /2001:db8:1::\/64: of another family.*--cluster-cidr=10\.244\.0\.0\/16/);
});
