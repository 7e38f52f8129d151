import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Labels } from '../../../src/cluster/selector.ts';
import { parseIp } from '../../../src/ip/address.ts';
import type { Written } from '../../../src/policy/collect.ts';
import { namespaceLabels } from '../../../src/policy/kubernetes/pod.ts';
import { entityText, type NodeEntity, type OwnPod } from '../../../src/policy/model/entity.ts';
import { policyText } from '../../../src/policy/model/policy.ts';
import type { PolicyView } from '../../../src/policy/model/view.ts';
import { isKnown } from '../../../src/policy/node/subjects.ts';
import { Accounts } from '../../../src/store/policies/accounts.ts';
import { Assembly, type Tables } from '../../../src/store/policies/assembly.ts';
import type { WrittenSet } from '../../../src/store/policies/network-sets.ts';
import { Table } from '../../../src/store/policies/table.ts';

const newTables = () =>
  ({
    policies: [new Table<Written>(), new Table<Written>()] as const,
    sets: [new Table<WrittenSet>()] as const,
    pods: new Table<OwnPod>(),
    namespaces: new Table<Labels>(),
    serviceAccounts: new Table<Labels>(),
    nodes: new Table<NodeEntity>(),
  }) satisfies Tables;

const pod = (name: string, labels: Labels = {}): OwnPod => ({
  kind: 'pod',
  namespace: 'shop',
  name,
  labels,
  serviceAccount: 'clerk',
  ports: [],
  addresses: [parseIp('10.0.0.1')],
});

/** What a view says, comparable. */
const said = ({ tiers, pods, others, problems }: PolicyView): object => ({
  tiers: tiers.map(({ policies, ...tier }) => ({
    ...tier,
    policies: policies.map((policy) => [policyText(policy), policy.isUnreadable ?? false]),
  })),
  pods: [...pods].sort(([a], [b]) => (a < b ? -1 : 1)),
  others: others.toSorted((a, b) => (entityText(a) < entityText(b) ? -1 : 1)),
  problems: problems.map((each) => JSON.stringify(each)).sort(),
});

test('pods and sets inherit labels, and stay the same objects while these do', () => {
  const tables = newTables();
  const assembly = new Assembly(tables);
  const web = (): object | undefined => assembly.view().pods.get('shop/web');
  tables.pods.set('shop/web', pod('web'));
  tables.sets[0].set('shop/office', { namespace: 'shop', name: 'office', labels: {}, spec: {} });
  const first = assembly.view();
  assert.deepEqual(first.pods.get('shop/web')?.namespaceLabels, { 'kubernetes.io/metadata.name': 'shop' });
  assert.equal(web(), first.pods.get('shop/web'));
  assert.equal(assembly.view().others[0], first.others[0]);

  tables.namespaces.set('shop', namespaceLabels('shop', { team: 'a' }));
  const second = assembly.view();
  assert.equal(second.pods.get('shop/web')?.namespaceLabels.team, 'a');
  const [set] = second.others;
  assert.ok(set?.kind === 'network-set' && set.namespaceLabels.team === 'a');
  tables.serviceAccounts.set('other/clerk', { role: 'b' });
  assert.equal(web(), second.pods.get('shop/web'));
  tables.serviceAccounts.set('shop/clerk', { role: 'b' });
  assert.deepEqual(assembly.view().pods.get('shop/web')?.serviceAccountLabels, { role: 'b' });
  assert.equal(tables.pods.set('shop/web', pod('web')), false, 'an equal value makes no difference');
  assert.equal(second.tiers, assembly.view().tiers);
});

test('where every pod has a namespace, one whose namespace is not known yet is not known itself', () => {
  const tables = newTables();
  const assembly = new Assembly({ ...tables, haveAllNamespaces: true });
  tables.pods.set('shop/web', pod('web'));
  const name = { namespace: 'shop', name: 'web' };
  const local = { ...name, containerId: 'c', ifName: 'eth0', netns: '', labels: {}, addresses: [] };
  const first = assembly.view();
  assert.ok(first.pods.has('shop/web'), 'rules that deny it hold elsewhere');
  assert.equal(isKnown(local, first), false);
  tables.namespaces.set('shop', namespaceLabels('shop'));
  assert.equal(isKnown(local, assembly.view()), true);
  assert.equal(isKnown(local, new Assembly({ ...newTables(), pods: tables.pods }).view()), true);
});

test('a pod whose service account is not known yet is not known itself, unless that is gone', () => {
  const tables = newTables();
  let areAll = false;
  const accounts = new Accounts(() => (areAll ? tables.serviceAccounts.values : undefined));
  const assembly = new Assembly({ ...tables, accounts });
  const name = { namespace: 'shop', name: 'web' };
  const local = { ...name, containerId: 'c', ifName: 'eth0', netns: '', labels: {}, addresses: [] };
  const isKnownNow = (): boolean => isKnown(local, assembly.view());
  const start = (uid: string): void => void tables.pods.set('shop/web', { ...pod('web'), uid });
  start('1');
  assert.equal(isKnownNow(), true, 'nobody tells of accounts');
  areAll = true;
  start('2');
  assert.equal(isKnownNow(), false);
  assert.ok(assembly.view().pods.has('shop/web'), 'rules that deny it hold elsewhere');
  tables.serviceAccounts.set('shop/clerk', { role: 'b' });
  assert.equal(isKnownNow(), true);
  // Its pods go on, and others of its name wait.
  tables.serviceAccounts.set('shop/clerk', undefined);
  assert.equal(isKnownNow(), true);
  assert.deepEqual(accounts.lacking, []);
  start('3');
  assert.equal(isKnownNow(), false);
  const [lacking] = accounts.lacking;
  assert.deepEqual(lacking, { key: 'shop/web', uid: '3', namespace: 'shop', name: 'clerk' });
  accounts.isGone(lacking ?? assert.fail());
  assert.equal(isKnownNow(), true);
  start('4');
  assert.equal(isKnownNow(), false);
  tables.pods.set('shop/web', undefined);
  assembly.view();
  assert.deepEqual(accounts.lacking, []);
});

test('a set that cannot be read loses its bad networks, and closes what would let through more for that', () => {
  const tables = newTables();
  const assembly = new Assembly(tables);
  const rule = (action: string, selector: string): object => ({ action, source: { selector } });
  const policy = (name: string, ...ingress: readonly object[]): void =>
    void tables.policies[0].set(name, { kind: 'GlobalNetworkPolicy', name, spec: { ingress } });
  policy('allows', rule('Allow', 'place == "office"'));
  policy('denies', rule('Deny', 'place == "office"'));
  policy('excepts', { action: 'Allow', source: { notSelector: 'place == "office"' } });
  policy('other', rule('Deny', 'place == "shop"'));
  const closed = (): readonly string[] =>
    assembly
      .view()
      .tiers.flatMap(({ policies }) => policies.flatMap((each) => (each.isUnreadable ? [each.name] : [])));
  const set = (nets: readonly string[], namespace?: string): void => {
    const object = { name: 'office', labels: { place: 'office' }, spec: { nets } };
    tables.sets[0].set('office', namespace === undefined ? object : { ...object, namespace });
  };
  set(['192.0.2.0/24']);
  assert.deepEqual(closed(), []);
  set(['192.0.2.0/24', '192.0.2.0/33']);
  assert.deepEqual(closed(), ['denies', 'excepts']);
  const { others, problems } = assembly.view();
  assert.deepEqual(
    others.flatMap((each) => (each.kind === 'network-set' ? each.nets : [])),
    ['192.0.2.0/24'],
  );
  assert.deepEqual(
    problems.map(({ policy: of, closes }) => [policyText(of), closes]),
    [
      ['GlobalNetworkPolicy denies', true],
      ['GlobalNetworkPolicy excepts', true],
      ['GlobalNetworkSet office', false],
    ],
  );
  assert.match(problems[0]?.problem ?? '', /network set office, which cannot be read: spec\.nets\[1\]/);
  // Whoever may write a namespace's sets must not close the policies of others.
  set(['192.0.2.0/33'], 'shop');
  assert.deepEqual(closed(), []);
  set(['192.0.2.0/24']);
  assert.deepEqual([closed(), assembly.view().problems], [[], []]);
});

type Act = (tables: ReturnType<typeof newTables>) => void;

test('whatever order facts come in, and with whatever in between, the view is the same', () => {
  const keys = ['a', 'b', 'c'] as const;
  const key = fc.constantFrom(...keys);
  const labels = fc.dictionary(fc.constantFrom('x', 'y'), fc.constantFrom('1', '2'), {
    noNullPrototype: true,
  });
  const acts: readonly fc.Arbitrary<readonly [string, Act]>[] = [
    fc.record({ key, tier: fc.constantFrom(undefined, 'own') }).map(({ key: name, tier }) => [
      `policy ${name}`,
      (tables) => {
        const spec = {
          ...(tier && { tier }),
          ingress: [{ action: 'Allow', source: { selector: 'x == "1"' } }],
        };
        tables.policies[1].set(name, { kind: 'GlobalNetworkPolicy', name, spec });
      },
    ]),
    fc
      .record({ order: fc.integer({ min: 0, max: 3 }) })
      .map((spec) => [
        'tier',
        (tables) => void tables.policies[0].set('tier', { kind: 'Tier', name: 'own', spec }),
      ]),
    fc
      .record({ key, labels })
      .map((value) => [
        `pod ${value.key}`,
        (tables) => void tables.pods.set(`shop/${value.key}`, pod(value.key, value.labels)),
      ]),
    labels.map((own) => [
      'namespace',
      (tables) => void tables.namespaces.set('shop', namespaceLabels('shop', own)),
    ]),
    fc.record({ labels, net: fc.constantFrom('192.0.2.0/24', 'none') }).map((value) => [
      'set',
      (tables) =>
        void tables.sets[0].set('office', {
          name: 'office',
          labels: value.labels,
          spec: { nets: [value.net] },
        }),
    ]),
  ];
  const run = fc.array(fc.oneof(...acts), { maxLength: 12 });
  fc.assert(
    fc.property(run, run, fc.infiniteStream(fc.boolean()), (before, facts, looks) => {
      const last = new Map(facts);
      const [tables, plain] = [newTables(), newTables()];
      const assembly = new Assembly(tables);
      // What is not among the final facts goes again.
      for (const [, act] of [...before, ...facts]) {
        act(tables);
        if (looks.next().value) assembly.view();
      }
      for (const table of [...tables.policies, ...tables.sets, tables.pods, tables.namespaces]) {
        const kept = newTables();
        for (const act of last.values()) act(kept);
        const index = [...tables.policies, ...tables.sets, tables.pods, tables.namespaces].indexOf(table);
        const all: readonly Table<object>[] = [...kept.policies, ...kept.sets, kept.pods, kept.namespaces];
        const values: ReadonlyMap<string, object> = all[index]?.values ?? new Map();
        for (const name of table.values.keys()) if (!values.has(name)) table.set(name, undefined);
      }
      for (const act of [...last.values()].reverse()) act(plain);
      assert.deepEqual(said(assembly.view()), said(new Assembly(plain).view()));
    }),
  );
});
