import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Written } from '../../src/policy/collect.ts';
import type { PodEntity } from '../../src/policy/model/entity.ts';
import { countOperations } from './operations.ts';

const count = countOperations();
const { nthIp, parseCidr } = await import('../../src/ip/cidr.ts');
const { collectPolicies } = await import('../../src/policy/collect.ts');
const { compilePolicies } = await import('../../src/policy/compile/compile.ts');

const times = <T>(n: number, of: (i: number) => T): readonly T[] =>
  Array.from({ length: n }, (_, i) => of(i));
const address = (i: number): string => `${nthIp(parseCidr('100.64.0.0/10'), 2 * i)}/32`;
const block = (i: number): object => ({ ipBlock: { cidr: address(i) } });
const pods = times(
  100,
  (i): PodEntity => ({
    kind: 'pod',
    namespace: 'default',
    name: `pod${i}`,
    labels: { app: `app${i}` },
    namespaceLabels: {},
    serviceAccount: 'default',
    serviceAccountLabels: {},
    ports: [],
    addresses: [nthIp(parseCidr('10.0.0.0/16'), i + 1)],
  }),
);
const policy = (ingress: readonly object[], name = 'a'): Written => ({
  kind: 'NetworkPolicy',
  namespace: 'default',
  name,
  spec: { podSelector: {}, ingress },
});
const ports = (i: number): readonly object[] => [{ port: 1 + 2 * i }];

/** Policies of a size. */
const LARGE: Readonly<Record<string, (n: number) => readonly Written[]>> = {
  'a rule with many networks': (n) => [policy([{ from: times(n, block), ports: ports(0) }])],
  'a rule for each network': (n) => [policy(times(n, (i) => ({ from: [block(i)], ports: ports(0) })))],
  'a rule for each network, with a port of its own': (n) => [
    policy(times(n, (i) => ({ from: [block(i)], ports: ports(i) }))),
  ],
  'a network with many exceptions': (n) => [
    policy([{ from: [{ ipBlock: { cidr: '100.0.0.0/8', except: times(n, address) } }], ports: ports(0) }]),
  ],
  'a rule with many ports': (n) => [policy([{ ports: times(n, (i) => ports(i)[0]) }])],
  'a rule for each port': (n) => [policy(times(n, (i) => ({ ports: ports(i) })))],
  'ranges of ports, each around the next': (n) => [
    policy(times(n, (i) => ({ ports: [{ port: 20_000 - i, endPort: 20_000 + i }] }))),
  ],
  'a selector with many values': (n) => {
    const values = times(n, (i) => `v${i}`);
    const podSelector = { matchExpressions: [{ key: 'app', operator: 'NotIn', values }] };
    return [policy([{ from: [{ podSelector }], ports: ports(0) }])];
  },
  'many selectors': (n) => [
    policy([
      { from: times(n, (i) => ({ podSelector: { matchLabels: { app: `app${i}` } } })), ports: ports(0) },
    ]),
  ],
  'many policies about a pod': (n) =>
    times(n, (i) =>
      policy(
        [{ from: [{ podSelector: { matchLabels: { app: `app${i % 100}` } } }], ports: ports(i) }],
        `p${i}`,
      ),
    ),
};

function operations(written: readonly Written[]): number {
  return count(() => {
    const { tiers, problems } = collectPolicies(written);
    assert.deepEqual(problems, []);
    const { refused } = compilePolicies({
      entities: pods,
      tiers,
      names: new Map(),
      subjects: pods.slice(0, 2).map((pod) => ({ pod, nets: [] })),
      subnets: [],
      families: [4, 6],
      devices: 'flt',
      bridge: 'cni0',
    });
    assert.deepEqual(refused, []);
  });
}

for (const [name, written] of Object.entries(LARGE))
  test(`what it takes grows with the policies, and no faster: ${name}`, () => {
    const [few, many] = [operations(written(200)), operations(written(800))];
    assert.ok(many < 5 * few, `${few} blocks of code, and ${many} for four times as much`);
  });
