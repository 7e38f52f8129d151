import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import type { Written } from '../../../src/policy/collect.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import type { NodeEntity, PodEntity } from '../../../src/policy/model/entity.ts';
import { TCP } from '../../../src/policy/model/traffic.ts';
import { Concerns, haveLogRules, logged } from '../../../src/policy/observe/logged.ts';
import type { Seen } from '../../../src/policy/observe/tally.ts';
import { podOf, WEB } from './policies.ts';

const [client, web, other] = [
  podOf('client', '10.0.0.1'),
  podOf('web', '10.0.0.2'),
  podOf('other', '10.0.0.3'),
];
const node: NodeEntity = { kind: 'node', name: 'n1', labels: {}, addresses: [parseIp('192.0.2.1')] };

const LOG: Written = {
  kind: 'Calico NetworkPolicy',
  namespace: 'default',
  name: 'log',
  spec: { order: 1, selector: 'app == "web"', ingress: [{ action: 'Log' }] },
};

const scene = (...written: Written[]) => ({
  cluster: {
    tiers: collectPolicies(written).tiers,
    entities: [client, web, other, node],
    names: new Map(),
  },
  subjects: [web],
  waiting: new Map([[parseIp('10.0.0.9'), 'default/new']]),
  deviceName: (index: number) => (index === 7 ? 'calix' : undefined),
});

const seen = (what: Seen['what'], source: string, destination: string, port = 80, device?: number): Seen => ({
  what,
  heading: {
    source: parseIp(source),
    destination: parseIp(destination),
    flow: { family: 4, protocol: TCP, port },
  },
  device,
  packets: 3,
});

test('a denied flow has the names of its ends, and the policies that deny it', () => {
  const [found] = logged([seen('ingress denied', '10.0.0.3', '10.0.0.2')], scene(WEB));
  assert.deepEqual(found, {
    verdict: 'denied',
    direction: 'ingress',
    because: 'NetworkPolicy default/web isolates the pod for ingress, and none of their rules allows it',
    from: { ip: '10.0.0.3', pod: 'default/other' },
    to: { ip: '10.0.0.2', pod: 'default/web' },
    protocol: 'TCP',
    port: 80,
    packets: 3,
  });
  const [fromNode] = logged([seen('ingress denied', '192.0.2.1', '10.0.0.2')], scene(WEB));
  assert.deepEqual(fromNode?.from, { ip: '192.0.2.1', node: 'n1' });
});

test('what rules log is told with these rules, allowed or denied', () => {
  const all = [
    seen('ingress logged', '10.0.0.1', '10.0.0.2'),
    seen('ingress denied', '10.0.0.3', '10.0.0.2'),
  ];
  const found = [...logged(all, scene(WEB, LOG))];
  assert.deepEqual(
    found.map(({ verdict, loggedBy }) => [verdict, loggedBy?.length]),
    [
      ['allowed', 1],
      ['denied', 1],
    ],
  );
  assert.match(found[0]?.because ?? '', /NetworkPolicy default\/web, ingress\[0\], allows it/);
});

test('whether anything is to be logged depends on rules in force', () => {
  const have = (...written: Written[]): boolean => haveLogRules(collectPolicies(written).tiers);
  const staged = { ...LOG, kind: 'StagedNetworkPolicy' };
  assert.deepEqual([have(WEB), have(WEB, LOG), have(WEB, staged)], [false, true, false]);
});

test('policies that have changed since are said to have', () => {
  const [found] = logged([seen('ingress denied', '10.0.0.1', '10.0.0.2')], scene(WEB));
  assert.equal(found?.because, 'by policies that have changed since');
  const [gone] = logged([seen('egress denied', '10.0.0.77', '10.0.0.2')], scene(WEB));
  assert.equal(gone?.because, 'by policies that have changed since');
});

test('ends that are nobody are told from pods whose policies are not known yet', () => {
  const all = [
    seen('unknown source', '10.0.0.77', '10.0.0.2', 80, 7),
    seen('unknown source', '10.0.0.77', '10.0.0.2', 80, 8),
    seen('unknown destination', '10.0.0.1', '10.0.0.9'),
  ];
  const [stranger, departed, waiting] = logged(all, scene(WEB));
  assert.equal(
    stranger?.because,
    'its source is no pod of this node whose policies are in force (it came by calix)',
  );
  assert.equal(departed?.because, 'its source is no pod of this node whose policies are in force');
  assert.equal(waiting?.because, 'nobody knows yet which policies are about the pod');
  assert.equal(waiting?.to.pod, 'default/new');
  assert.equal(waiting?.direction, undefined);
});

test('a flood asks each policy but once about each pod', () => {
  const { cluster, ...rest } = scene(WEB);
  let asked = 0;
  const tiers = cluster.tiers.map((tier) => ({
    ...tier,
    policies: tier.policies.map((policy) => ({
      ...policy,
      subject: {
        ...policy.subject,
        selects: (pod: PodEntity) => asked++ >= 0 && policy.subject.selects(pod),
      },
    })),
  }));
  const concerns = new Concerns();
  const flood = Array.from({ length: 100 }, (_, i) => seen('ingress denied', '10.0.0.3', '10.0.0.2', i));
  const told = (): number => [...logged(flood, { ...rest, cluster: { ...cluster, tiers } }, concerns)].length;
  assert.equal(told() + told(), 200);
  // `evaluate` asks those that are left once more.
  assert.equal(asked, 1 + 200);
  asked = 0;
  const others = flood.map((each) => ({ ...each, what: 'egress denied' as const }));
  assert.equal([...logged(others, { ...rest, cluster: { ...cluster, tiers } }, concerns)].length, 100);
  assert.equal(asked, 0, 'none is about egress');
});

test('names that a store has from anybody do not reach a terminal as they are', () => {
  const evil = `x\n\u001b[2J${'y'.repeat(400)}`;
  const { cluster, ...rest } = scene({ ...LOG, name: evil }, { ...WEB, name: evil });
  const [pod, box] = [podOf(evil, '10.0.0.3'), { ...node, name: evil, addresses: [parseIp('192.0.2.9')] }];
  const all = [
    seen('ingress denied', '10.0.0.3', '10.0.0.2'),
    seen('ingress denied', '192.0.2.9', '10.0.0.2'),
    seen('unknown source', '10.0.0.9', '10.0.0.2'),
  ];
  const shown = [
    ...logged(all, {
      ...rest,
      cluster: { ...cluster, entities: [pod, web, box] },
      waiting: new Map([[parseIp('10.0.0.9'), evil]]),
    }),
  ];
  const texts = shown.flatMap(({ from, because, loggedBy = [] }) => [
    from.pod ?? from.node ?? '',
    because,
    ...loggedBy,
  ]);
  assert.equal(texts.length, 3 * 2 + 2);
  for (const text of texts) assert.match(text, /^[^\p{Cc}]{1,400}$/u);
});
