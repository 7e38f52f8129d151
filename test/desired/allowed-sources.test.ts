import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { Memo } from '../../src/desired/memo.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { parseMac } from '../../src/ip/mac.ts';
import { problemText } from '../../src/problem.ts';
import { factsOf, type Plan } from '../backends/cluster.ts';

const PLAN: Plan = { size: 2, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };
const pod = (name: string, ...sources: string[]): LocalPod => ({
  containerId: name,
  ifName: 'eth0',
  labels: {},
  hostDevice: `cali${name}`,
  netns: `/run/netns/${name}`,
  namespace: 'default',
  name,
  wiring: 'routed',
  mac: parseMac('02:00:00:00:00:07'),
  addresses: [parseIp('10.0.1.7')],
  ...(sources.length > 0 && { allowedSources: sources.map(parseCidr) }),
});

function state(pods: readonly LocalPod[], allowed: readonly string[], memo = new Memo()) {
  const facts = factsOf(PLAN);
  const network = {
    ...facts.network,
    wiring: 'routed' as const,
    allowedSources: allowed.map(parseCidr),
    serviceNetworks: [],
  };
  const { contributions, warnings } = desiredState({ ...facts, network, pods }, memo);
  const texts = contributions.flatMap(({ items }) => items.map((item) => JSON.stringify(item)));
  return {
    contributions,
    warnings: warnings.map(problemText),
    has: (text: string) => texts.some((each) => each.includes(text)),
    rpFilter: /"value":"(\d)"/.exec(texts.find((text) => text.includes('conf/calivm/rp_filter')) ?? '')?.[1],
  };
}

test('a record’s sources count only as long as the network allows them', () => {
  const vm = pod('vm', '192.0.2.0/24', '0.0.0.0/0', 'fd99::/64');
  const before = state([vm], ['192.0.2.0/24', 'fd99::/60']);
  assert.ok(before.has('192.0.2.0') && before.has('fd99::') && !before.has('0.0.0.0/0'));
  assert.equal(before.rpFilter, '0');
  assert.equal(before.warnings.length, 1);
  assert.match(before.warnings[0] ?? '', /default\/vm: 0\.0\.0\.0\/0 is not part of allowedSources/);
  const after = state([vm], []);
  assert.ok(!after.has('192.0.2.0') && !after.has('fd99::'));
  assert.equal(after.rpFilter, '1');
  assert.match(after.warnings[0] ?? '', /192\.0\.2\.0\/24 is not.*0\.0\.0\.0\/0 is not.*fd99::\/64 is not/);
  assert.deepEqual(state([pod('vm', '192.0.2.0/24')], ['192.0.2.0/24']).warnings, []);
});

test('pods whose sources are refused stay the same contributions', () => {
  const memo = new Memo();
  const pods = [pod('a'), pod('vm', '0.0.0.0/0')];
  const first = state(pods, [], memo).contributions;
  const second = state([...pods, pod('b')], [], memo).contributions;
  for (const each of first) if (each.owner.part === 'pod') assert.ok(second.includes(each), each.owner.name);
});

test('sources are allowed without a word only if somebody has said which networks the Services have', () => {
  const { network, ...facts } = factsOf(PLAN);
  const warnings = (
    allowed: readonly string[],
    said: Partial<typeof network> = {},
    cidrs: readonly string[] = [],
  ) =>
    desiredState({
      ...facts,
      network: { ...network, allowedSources: allowed.map(parseCidr), ...said },
      resources: {
        ...NO_RESOURCES,
        bgpConfiguration: { ...NO_RESOURCES.bgpConfiguration, serviceCidrs: cidrs.map(parseCidr) },
      },
    }).warnings.map(({ id }) => id);
  assert.deepEqual(warnings(['192.0.2.0/24']), ['service-networks-unknown']);
  assert.deepEqual(warnings([]), []);
  assert.deepEqual(warnings(['192.0.2.0/24'], { serviceNetworks: [parseCidr('10.96.0.0/12')] }), []);
  assert.deepEqual(warnings(['192.0.2.0/24'], { serviceNetworks: [] }), [], 'there are none');
  assert.deepEqual(warnings(['192.0.2.0/24'], {}, ['10.96.0.0/12']), []);
});
