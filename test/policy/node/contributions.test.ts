import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../../src/cluster/node.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import { collectPolicies, type Written } from '../../../src/policy/collect.ts';
import { podEntity } from '../../../src/policy/kubernetes/pod.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { PolicyPart } from '../../../src/policy/node/contributions.ts';
import { isKnown } from '../../../src/policy/node/subjects.ts';
import type { Contribution } from '../../../src/state/contributions.ts';

const NODE = { subnets: [], families: [4, 6] as const, devices: 'cali', bridge: 'cni0' };

function entity(name: string, labels: Record<string, string>, ...addresses: string[]): PodEntity {
  return {
    kind: 'pod',
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    labels,
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses: addresses.map(parseIp),
  };
}

function local(name: string, ...addresses: string[]): LocalPod {
  return {
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    labels: {},
    containerId: `container-${name}`,
    ifName: 'eth0',
    netns: '/run/netns/x',
    addresses: addresses.map(parseIp),
    mac: parseMac('02:00:00:00:00:01'),
  };
}

function viewOf(pods: readonly PodEntity[], ...policies: Written[]): PolicyView {
  const { tiers, problems } = collectPolicies(policies);
  return { tiers, problems, others: [], pods: new Map(pods.map((pod) => [`default/${pod.name}`, pod])) };
}

const WEB: Written = {
  kind: 'NetworkPolicy',
  namespace: 'default',
  name: 'web',
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }] }],
  },
};

const texts = (contributions: readonly Contribution[]): string[] =>
  contributions.flatMap(({ items }) =>
    items.flatMap((item) => (item.kind === 'nft-element' ? [`${item.set} ${item.key}`] : [])),
  );

test('this node’s pods have the addresses they have here, link-local ones too, whatever the store says', () => {
  const view = viewOf([entity('web', { app: 'web' }), entity('client', { app: 'client' }, '10.0.1.1')], WEB);
  for (const wiring of ['bridge', 'routed'] as const) {
    const web = { ...local('web', '10.0.0.2', 'fd00::2'), wiring };
    const { contributions, waiting } = new PolicyPart().of([web], view, NODE);
    assert.deepEqual(waiting, []);
    const all = texts(contributions);
    for (const ip of ['10.0.0.2', 'fd00::2', 'fe80::ff:fe00:1']) {
      assert.ok(all.includes(`pods ${ip}`), ip);
      assert.ok(all.includes(`ingress-isolated ${ip}`), ip);
    }
    assert.ok(all.includes('ingress-peers 10.0.1.1'));
  }
});

test('a pod that the store does not know, or knows another by that name, waits: nothing lets it pass', () => {
  const view = viewOf([{ ...entity('web', { app: 'web' }), uid: 'of its predecessor' }], WEB);
  const [web, stranger] = [local('web', '10.0.0.2'), local('stranger', '10.0.0.3')];
  const { namespace: _, ...container } = local('container', '10.0.0.4');
  const { contributions, waiting } = new PolicyPart().of([web, stranger, container], view, NODE);
  assert.deepEqual(waiting, [web, stranger]);
  assert.deepEqual(texts(contributions).sort(), ['pods 10.0.0.4', 'waiting 10.0.0.2', 'waiting 10.0.0.3']);
  assert.deepEqual(
    [web, stranger, container].map((pod) => isKnown(pod, view)),
    [false, false, true],
  );
});

test('what has not changed stays the same objects', () => {
  const part = new PolicyPart();
  const clients = Array.from({ length: 300 }, (_, i) =>
    entity(`c${i}`, { app: 'client' }, `10.1.${i >> 8}.${i & 255}`),
  );
  const web = entity('web', { app: 'web' });
  const pods = [local('web', '10.0.0.2'), local('other', '10.0.0.3')];
  const all = [web, entity('other', {}), ...clients];
  const before = part.of(pods, viewOf(all, WEB), NODE).contributions;
  const same = part.of(pods, viewOf(all, WEB), NODE).contributions;
  assert.deepEqual(
    before.map((each, i) => each === same[i]),
    before.map(() => true),
  );
  const more = part.of(
    pods,
    viewOf([...all, entity('new', { app: 'client' }, '10.2.0.1')], WEB),
    NODE,
  ).contributions;
  const changed = more.filter((each, i) => each !== before[i]);
  assert.deepEqual(
    texts(changed).filter((text) => !texts(before).includes(text)),
    ['ingress-peers 10.2.0.1'],
  );
  assert.equal(changed.length, 1);
});

test('a static pod is known by its kubelet’s UID, and a pod’s interfaces are all its own', () => {
  const metadata = {
    name: 'web',
    namespace: 'default',
    uid: 'mirror',
    annotations: { 'kubernetes.io/config.hash': 'uid-web' },
  };
  const inherited = { ofNamespace: () => ({}), ofServiceAccount: () => ({}) };
  const mirror = podEntity({ metadata, spec: {}, status: {} }, inherited);
  assert.ok(mirror);
  const view = viewOf([{ ...mirror, labels: { app: 'client' } }, entity('server', { app: 'web' })], WEB);
  const [first, second] = [local('web', '10.0.0.2'), { ...local('web', '10.0.0.9'), ifName: 'net1' }];
  const { waiting, contributions } = new PolicyPart().of(
    [first, second, local('server', '10.0.0.3')],
    view,
    NODE,
  );
  assert.deepEqual(waiting, []);
  for (const ip of ['10.0.0.2', '10.0.0.9'])
    assert.ok(texts(contributions).includes(`ingress-peers ${ip}`), ip);
});

const NAMES: Written = {
  kind: 'ClusterNetworkPolicy',
  name: 'names',
  spec: {
    tier: 'Admin',
    priority: 1,
    subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } } },
    egress: [
      { action: 'Accept', to: [{ domainNames: ['*.example.org'] }] },
      { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
    ],
  },
};

test('names: answers to the pods of such rules are seen, and another address is one more element', () => {
  const part = new PolicyPart();
  const pods = [local('web', '10.0.0.2'), local('other', '10.0.0.3')];
  const dns = { ...entity('dns', { 'k8s-app': 'kube-dns' }, '10.0.9.53'), namespace: 'kube-system' };
  const view = viewOf([entity('web', { app: 'web' }), entity('other', {}), dns], NAMES);
  const of = (observed: 'held' | 'copied' | undefined, ...known: string[]) =>
    part.of(pods, view, {
      ...NODE,
      cuts: false,
      names: {
        addresses: new Map(known.map((ip) => [parseIp(ip), ['www.example.org']])),
        ...(observed && { observed }),
        resolvers: [parseIp('192.0.2.53')],
      },
      resolvers: [parseCidr('198.51.100.0/24')],
    });
  const tables = (contributions: readonly Contribution[]): string[] =>
    contributions.flatMap(({ items }) =>
      items.flatMap((item) => (item.kind === 'nft-table' ? [item.table] : [])),
    );
  // Nobody listens yet.
  assert.ok(!tables(of(undefined).contributions).includes('flatnet-names'));
  const before = of('held', '203.0.113.1');
  assert.deepEqual([...before.wanted.patterns], ['*.example.org']);
  const watched = texts(before.contributions).filter((text) => /^(askers|resolvers) /.test(text));
  assert.deepEqual(watched.sort(), [
    'askers 10.0.0.2',
    'resolvers 10.0.9.53',
    'resolvers 192.0.2.53',
    'resolvers 198.51.100.0/24',
  ]);
  const after = of('held', '203.0.113.1', '203.0.113.2').contributions;
  const changed = after.filter((each, i) => each !== before.contributions[i]);
  assert.deepEqual(
    texts(changed).filter((text) => !texts(before.contributions).includes(text)),
    ['egress-peers 203.0.113.2'],
  );
  // Where no pod has such rules, nobody's answers are seen.
  const { contributions, wanted } = part.of([local('other', '10.0.0.3')], view, {
    ...NODE,
    names: { addresses: new Map(), observed: 'held', resolvers: [] },
  });
  assert.equal(tables(contributions).includes('flatnet-names'), false);
  assert.deepEqual([wanted.areAny, wanted.patterns.size], [true, 0]);
});

test('a pod’s address is not its predecessor’s any more, which the store still tells of', () => {
  const view = (...pods: PodEntity[]) => viewOf([entity('web', { app: 'web' }), ...pods], WEB);
  const [before, after] = [
    { ...entity('before', { app: 'client' }, '10.0.1.1'), since: '2026-11-30T12:00:00Z' },
    { ...entity('after', { app: 'other' }, '10.0.1.1'), since: '2026-11-30T12:00:01Z' },
  ];
  const web = local('web', '10.0.0.2');
  const peersOf = (all: PolicyView, ...pods: LocalPod[]) =>
    texts(new PolicyPart().of([web, ...pods], all, NODE).contributions).filter((text) =>
      text.startsWith('ingress-peers '),
    );
  assert.deepEqual(peersOf(view(before)), ['ingress-peers 10.0.1.1']);
  assert.deepEqual(peersOf(view(before, after)), []);
  assert.deepEqual(peersOf(view(after, before)), []);
  const last = { ...after, isEnding: true } as const;
  assert.deepEqual(peersOf(view(before, last)), ['ingress-peers 10.0.1.1'], 'the later one is being deleted');
  // Of its own pods, the node knows better.
  assert.deepEqual(peersOf(view(before, after), local('before', '10.0.1.1')), ['ingress-peers 10.0.1.1']);
  const unknown = local('unknown', '10.0.1.1');
  assert.deepEqual(peersOf(view(before), unknown), [], 'the store does not know the successor yet');
});

test('a bridged pod gets what is for many where every other may send it everything', () => {
  const port = (name: string, ip: string): LocalPod => ({ ...local(name, ip), hostDevice: `port-${name}` });
  const [web, client, other] = [
    port('web', '10.0.0.2'),
    port('client', '10.0.0.3'),
    port('other', '10.0.0.4'),
  ];
  const known = [entity('web', { app: 'web' }), entity('client', { app: 'client' }), entity('other', {})];
  const closed = (pods: readonly LocalPod[], from: readonly PodEntity[] = known): string[] =>
    texts(new PolicyPart().of(pods, viewOf(from, WEB), NODE).contributions).filter((text) =>
      text.startsWith('closed'),
    );
  assert.deepEqual(closed([web]), [], 'it is alone');
  assert.deepEqual(closed([web, client]), []);
  assert.deepEqual(closed([web, client, other]), ['closed "port-web"']);
  assert.deepEqual(closed([web, { ...other, wiring: 'routed' }]), []);
  const moving = { ...client, allowedSources: [parseCidr('192.0.2.0/24')] };
  assert.deepEqual(closed([web, moving]), ['closed "port-web"']);
  const ofOnes = known.filter(({ name }) => name !== 'client');
  assert.deepEqual(closed([web, client], ofOnes), ['closed "port-client"'], 'nobody knows it yet');
});
