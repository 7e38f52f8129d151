import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { compilePolicies } from '../../../src/policy/compile/compile.ts';
import type { PolicyFacts } from '../../../src/policy/compile/facts.ts';
import { Memory } from '../../../src/policy/compile/memory.ts';
import { type Connection, isDenied } from '../../../src/policy/compile/verdicts.ts';
import { losses } from '../../../src/policy/flows/losses.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import type { Rule } from '../../../src/policy/model/policy.ts';
import { type Flow, ICMP, SCTP, TCP, UDP } from '../../../src/policy/model/traffic.ts';
import { facts, flow, labelled, verdict } from '../arbitrary.ts';
import { walk } from '../compiled.ts';

// Every place where the rules of `arbitrary.ts` may tell addresses, or flows, apart.
const ADDRESSES = {
  4: '0.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.99 192.0.2.1 192.0.2.200 198.51.100.1',
  6: ':: fd00::1 fd00::2 fd00::3 fd00::4 fd00::5 fd00::6 fd00::99 2001:db8::1 2001:db8::8001 2001:db8:1::1',
} as const;
const PORTS = [0, 1, 2, 79, 80, 81, 82, 443, 444, 8080, 8081, 65535];
const KINDS = [0, 8, 13].flatMap((type) => [0, 3, 4].map((code) => ({ type, code })));
const flows = (family: 4 | 6): Flow[] => [
  ...[TCP, UDP, SCTP].flatMap((protocol) => PORTS.map((port) => ({ family, protocol, port }))),
  ...KINDS.map((icmp) => ({ family, protocol: ICMP, icmp })),
  { family, protocol: 47 },
];

for (const family of [4, 6] as const) {
  const addresses = ADDRESSES[family].split(' ').map(parseIp);
  const address = fc.constantFrom(...addresses);

  test(`IPv${family}: a connection at hand is judged as by the tables`, () => {
    const connections = fc.array(fc.tuple(address, address, flow(family)), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(facts(family), connections, (all, each) => {
        const compiled = compilePolicies(all, new Memory());
        for (const [source, destination, what] of each) {
          const connection = { source, destination, flow: what };
          const isDropped = walk(compiled, connection) === 'drop';
          assert.equal(isDenied(compiled.verdicts, connection), isDropped, JSON.stringify(connection));
        }
      }),
      { numRuns: 300 },
    );
  });

  test(`IPv${family}: what a change takes away has an end among the losses, and no change has none`, () => {
    // Often a change of little: of the pods, or of the policies.
    const change = fc.tuple(facts(family), facts(family), fc.constantFrom('all', 'pods', 'policies'));
    fc.assert(
      fc.property(change, ([one, other, what]) => {
        const after = what === 'all' ? other : { ...one, ...pick(other, what) };
        const memory = new Memory();
        const [was, is] = [one, after].map((all) => compilePolicies(all, memory).verdicts);
        const lost = losses(was, is);
        for (const connection of allBetween(addresses, family)) {
          const { source, destination } = connection;
          if (denies(one, connection) || !denies(after, connection)) continue;
          assert.ok(lost.has(source) || lost.has(destination), JSON.stringify(connection));
        }
        const again = compilePolicies(structuralCopy(one), new Memory()).verdicts;
        assert.deepEqual([...losses(was, again)], []);
        assert.deepEqual([...losses(was, undefined)], []);
      }),
      { numRuns: 100 },
    );
  });
}

const denies = (all: PolicyFacts, { source, destination, flow: what }: Connection): boolean =>
  verdict(all, source, destination, what) === 'drop';

/** The same, of other objects. */
function structuralCopy(all: PolicyFacts): PolicyFacts {
  const subjects = all.subjects.map(({ pod, nets }) => ({ pod: { ...pod }, nets }));
  return { ...all, subjects, entities: all.entities.map((each) => ({ ...each })), tiers: [...all.tiers] };
}

function pick(all: PolicyFacts, what: string): Partial<PolicyFacts> {
  const { entities, subjects, tiers } = all;
  return what === 'pods' ? { entities, subjects } : { tiers };
}

function* allBetween(addresses: readonly Ip[], family: 4 | 6): Generator<Connection> {
  const all = flows(family);
  for (const source of addresses)
    for (const destination of addresses) for (const each of all) yield { source, destination, flow: each };
}

const CLIENTS: Rule = { name: 'r', action: 'allow', peers: [{ are: [labelled('client')], areNot: [] }] };

test('only what a change takes away has to be looked for', () => {
  const base = 'web=10.0.0.1 web=10.0.0.2 client=10.1.0.1 client=10.1.0.2 client=10.1.0.9 other=10.1.0.3';
  const was = isolatedWeb(base, CLIENTS);
  const lost = (pods: string, rule: Rule): string[] => [...losses(was, isolatedWeb(pods, rule))].sort();
  const webs = ['10.0.0.1', '10.0.0.2'];
  assert.deepEqual([...losses(undefined, was)], webs, 'the first policy');
  assert.deepEqual(lost(base.replace('other=10.1.0.3', ''), CLIENTS), [], 'a pod goes that was not allowed');
  assert.deepEqual(lost(`${base} client=10.1.0.4`, CLIENTS), [], 'a pod comes');
  assert.deepEqual(lost(base, { name: 'all', action: 'allow' }), [], 'more is allowed');
  const client = 'client=10.1.0.2';
  assert.deepEqual(lost(base.replace(client, ''), CLIENTS), ['10.1.0.2'], 'a pod goes that was allowed');
  assert.deepEqual(lost(base.replace(client, 'other=10.1.0.2'), CLIENTS), ['10.1.0.2'], 'another label');
  assert.deepEqual(lost(base, { ...CLIENTS, traffic: [{ notProtocol: TCP }] }), webs, 'an edit');
  assert.deepEqual(lost(`${base} web=10.0.0.3`, CLIENTS), ['10.0.0.3'], 'a policy comes to be about a pod');
});

/** Pods by their only label; those of `web` are this node's, and receive only what the rule allows. */
function isolatedWeb(text: string, rule: Rule) {
  const pods = text
    .split(' ')
    .filter(Boolean)
    .map((each, i): PodEntity => {
      const [label = '', address = ''] = each.split('=');
      return {
        kind: 'pod',
        namespace: 'default',
        name: `${label}${i}`,
        labels: { [label]: '' },
        namespaceLabels: {},
        serviceAccount: 'default',
        serviceAccountLabels: {},
        ports: [],
        addresses: [parseIp(address)],
      };
    });
  const subject = { text: 'web', selects: ({ labels }: PodEntity) => 'web' in labels };
  const policy = { kind: 'Test', name: 'p', order: 0, subject, ingress: [rule] };
  return compilePolicies(
    {
      entities: pods,
      names: new Map(),
      tiers: [{ name: 't', order: 0, otherwise: 'deny', policies: [policy] }],
      subjects: pods.filter(subject.selects).map((pod) => ({ pod, nets: [] })),
      subnets: [],
      families: [4],
      devices: 'cali',
      bridge: 'cni0',
    },
    new Memory(),
  ).verdicts;
}
