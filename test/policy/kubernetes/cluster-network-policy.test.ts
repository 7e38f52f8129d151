import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { collectPolicies } from '../../../src/policy/collect.ts';
import { explain } from '../../../src/policy/explain/explain.ts';
import { readCluster } from '../../../src/policy/manifest.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { TCP, UDP } from '../../../src/policy/model/traffic.ts';

const PODS = [
  ['gryffindor', 'harry', '10.0.0.1'],
  ['slytherin', 'draco', '10.0.0.2'],
  ['ravenclaw', 'luna', '10.0.0.3'],
] as const;

/** Two houses’ pods, with these policies, and whether one may connect to the other. */
function world(...policies: object[]) {
  const pods = PODS.map(([house, name, podIP]) => ({
    kind: 'Pod',
    metadata: { name, namespace: house, labels: { name } },
    spec: { containers: [{ ports: [{ name: 'web', containerPort: 80 }] }] },
    status: { podIP },
  }));
  const namespaces = PODS.map(([house]) => ({
    kind: 'Namespace',
    metadata: { name: house, labels: { house } },
  }));
  const node = {
    kind: 'Node',
    metadata: { name: 'n', labels: { zone: 'a' } },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
  };
  const objects = [...pods, ...namespaces, node, ...policies];
  const cluster = readCluster(objects.map((value) => ({ value, where: '' })));
  assert.deepEqual(cluster.problems, []);
  const end = (name: string) => {
    const pod = cluster.entities.find((each): each is PodEntity => each.kind === 'pod' && each.name === name);
    return { ip: pod?.addresses[0] ?? parseIp(name), ...(pod && { pod }) };
  };
  return (from: string, to: string, port = 80, protocol = TCP): boolean => {
    const known = { ...cluster, names: new Map([[parseIp('203.0.113.7'), ['www.example.org']]]) };
    return explain(known, end(from), end(to), { family: 4, protocol, port }).verdict === 'allowed';
  };
}

const house = (name: string): object => ({ namespaces: { matchLabels: { house: name } } });
const cnp = (name: string, spec: object, subject: object = house('gryffindor')): object => ({
  kind: 'ClusterNetworkPolicy',
  metadata: { name },
  spec: { tier: 'Admin', priority: 10, subject, ...spec },
});
const isolating = {
  kind: 'NetworkPolicy',
  metadata: { name: 'np', namespace: 'gryffindor' },
  spec: { podSelector: {} },
};

test('the tiers’ order: Admin, NetworkPolicy, Baseline; Pass leaves a tier', () => {
  const accept = { ingress: [{ action: 'Accept', from: [house('slytherin')] }] };
  const pass = {
    ingress: [
      { action: 'Pass', from: [house('slytherin')] },
      { action: 'Deny', from: [{ namespaces: {} }] },
    ],
  };
  const baseline = { tier: 'Baseline', ingress: [{ action: 'Deny', from: [house('slytherin')] }] };
  assert.equal(world(isolating)('draco', 'harry'), false);
  assert.equal(world(isolating, cnp('a', accept))('draco', 'harry'), true);
  assert.equal(world(isolating, cnp('a', accept))('luna', 'harry'), false, 'the NetworkPolicy is next');
  assert.equal(world(cnp('a', pass))('draco', 'harry'), true);
  assert.equal(world(cnp('a', pass))('luna', 'harry'), false);
  assert.equal(world(cnp('a', pass), cnp('b', baseline))('draco', 'harry'), false);
  const open = { ...isolating, spec: { podSelector: {}, ingress: [{}] } };
  assert.equal(
    world(open, cnp('b', baseline))('draco', 'harry'),
    true,
    'a NetworkPolicy is final for its pods',
  );
});

test('priority, then name, and within a policy the order of its rules', () => {
  const rule = (action: string) => ({ action, from: [{ namespaces: {} }] });
  const policyOf = (name: string, priority: number, ...actions: string[]) =>
    cnp(name, { priority, ingress: actions.map(rule) });
  assert.equal(world(policyOf('z', 1, 'Accept'), policyOf('a', 2, 'Deny'))('draco', 'harry'), true);
  assert.equal(world(policyOf('b', 1, 'Accept'), policyOf('a', 1, 'Deny'))('draco', 'harry'), false);
  assert.equal(world(policyOf('a', 1, 'Accept', 'Deny'))('draco', 'harry'), true);
});

test('egress to networks, nodes, named ports and names', () => {
  const deny = { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] };
  const can = (rule: object) => world(cnp('a', { egress: [rule, deny] }));
  assert.equal(can({ action: 'Accept', to: [{ networks: ['192.0.2.0/24'] }] })('harry', '192.0.2.9'), true);
  assert.equal(
    can({ action: 'Accept', to: [{ networks: ['10.0.0.2/32'] }] })('harry', 'draco'),
    true,
    'pods are inside networks, too',
  );
  assert.equal(
    can({ action: 'Accept', to: [{ nodes: { matchLabels: { zone: 'a' } } }] })('harry', '192.0.2.1'),
    true,
  );
  assert.equal(
    can({ action: 'Accept', to: [{ nodes: { matchLabels: { zone: 'b' } } }] })('harry', '192.0.2.1'),
    false,
  );
  const named = can({ action: 'Accept', to: [{ pods: {} }], protocols: [{ destinationNamedPort: 'web' }] });
  assert.deepEqual(
    [named('harry', 'draco', 80), named('harry', 'draco', 81), named('harry', 'draco', 80, UDP)],
    [true, false, false],
  );
  const ranged = can({
    action: 'Accept',
    to: [{ pods: {} }],
    protocols: [{ udp: { destinationPort: { range: { start: 80, end: 90 } } } }],
  });
  assert.deepEqual(
    [ranged('harry', 'draco', 85, UDP), ranged('harry', 'draco', 91, UDP), ranged('harry', 'draco', 85)],
    [true, false, false],
  );
  for (const [name, expected] of [
    ['*.example.org', true],
    ['www.example.org', true],
    ['example.org', false],
    ['*.www.example.org', false],
    ['WWW.Example.org.', true],
  ] as const)
    assert.equal(
      can({ action: 'Accept', to: [{ domainNames: [name] }] })('harry', '203.0.113.7'),
      expected,
      name,
    );
});

test('what only a newer API knows closes its rule', () => {
  const of = (action: string) => ({ ingress: [{ action, from: [{ aliens: {} }] }] });
  assert.equal(world(cnp('a', of('Deny')))('draco', 'harry'), false);
  assert.equal(world(cnp('a', of('Pass')))('draco', 'harry'), false);
  assert.equal(world(isolating, cnp('a', of('Accept')))('draco', 'harry'), false);
  const protocol = { ingress: [{ action: 'Accept', from: [{ namespaces: {} }], protocols: [{ quic: {} }] }] };
  assert.equal(world(isolating, cnp('a', protocol))('draco', 'harry'), false);
});

test('what cannot be read is named, and its pods are closed', () => {
  const from = [{ namespaces: {} }];
  const cases: readonly [object, RegExp][] = [
    [{ tier: 'Middle' }, /spec\.tier: must be Admin or Baseline, not 'Middle'/],
    [{ priority: 1001 }, /spec\.priority: must be a whole number from 0 to 1000/],
    [{ subject: {} }, /spec\.subject\.namespaces: is missing, and so is pods/],
    [{ ingress: [{ action: 'Allow', from }] }, /ingress\[0\]\.action: must be Accept or Deny or Pass/],
    [{ ingress: [{ action: 'Deny', from: [] }] }, /ingress\[0\]\.from: must not be empty/],
    [{ ingress: [{ action: 'Deny', from: Array(26).fill(from[0]) }] }, /from: must have at most 25/],
    [{ egress: [{ action: 'Deny', to: [{ networks: ['10.0.0.1/8'] }] }] }, /networks\[0\]: .*10\.0\.0\.1\/8/],
    [
      { egress: [{ action: 'Deny', to: [{ domainNames: ['example.org'] }] }] },
      /domainNames: is for rules that accept/,
    ],
    [
      {
        egress: [
          {
            action: 'Accept',
            to: [{ networks: ['10.0.0.0/8'] }],
            protocols: [{ destinationNamedPort: 'web' }],
          },
        ],
      },
      /destinationNamedPort: needs peers that are pods/,
    ],
    [
      {
        ingress: [
          {
            action: 'Deny',
            from,
            protocols: [{ tcp: { destinationPort: { range: { start: 9, end: 9 } } } }],
          },
        ],
      },
      /range\.start: must be there and below end/,
    ],
    [{ ingress: [{ action: 'Deny', from, protocols: [{ tcp: {}, udp: {} }] }] }, /must be alone: a protocol/],
  ];
  for (const [part, expected] of cases) {
    const { spec } = cnp('a', part) as { spec: unknown };
    const { problems, tiers } = collectPolicies([{ kind: 'ClusterNetworkPolicy', name: 'a', spec }]);
    assert.match(problems[0]?.problem ?? '', expected);
    const [closed] = tiers.flatMap(({ policies }) => policies);
    assert.deepEqual(
      [closed?.ingress, closed?.egress].map((rules) => rules?.map(({ action }) => action)),
      [['deny'], ['deny']],
    );
  }
});
