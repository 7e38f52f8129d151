import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../src/cluster/node.ts';
import { policyPart } from '../../src/desired/policies.ts';
import { parseIp } from '../../src/ip/address.ts';
import { collectPolicies, type Written } from '../../src/policy/collect.ts';
import { PolicyPart } from '../../src/policy/node/contributions.ts';
import { factsOf } from '../backends/cluster.ts';

const BRIDGED = ['net/bridge/bridge-nf-call-iptables', 'net/bridge/bridge-nf-call-ip6tables'];

const ALL: Written = { kind: 'NetworkPolicy', namespace: 'default', name: 'all', spec: { podSelector: {} } };

function partOf(wiring: 'bridge' | 'routed', pods: readonly LocalPod[], ...written: Written[]) {
  const facts = factsOf({ size: 1, families: [4], backend: { Type: 'host-gw' }, networks: 1, wiring });
  const policy = { onChange: 'cut', offload: true, logDenied: false, logGroup: 7, resolvers: [] } as const;
  const { tiers, problems } = collectPolicies(written);
  const policies = { tiers, problems, pods: new Map(), others: [] };
  return policyPart(
    { ...facts, network: { ...facts.network, policy }, policies },
    pods,
    [4],
    new PolicyPart(),
  );
}

/** The sysctls that policies set on a node of this wiring with these pods. */
function sysctlsFor(wiring: 'bridge' | 'routed', ...pods: LocalPod[]): string[] {
  return partOf(wiring, pods, ALL).contributions.flatMap(({ items }) =>
    items.flatMap((item) => (item.kind === 'sysctl' ? [item.path] : [])),
  );
}

function pod(wiring?: 'routed'): LocalPod {
  const addresses = [parseIp('10.0.1.7')];
  return { containerId: 'c', ifName: 'eth0', labels: {}, netns: '', addresses, ...(wiring && { wiring }) };
}

test('bridged packets pass the chains as long as there are bridged pods', () => {
  assert.deepEqual(sysctlsFor('bridge'), BRIDGED);
  assert.deepEqual(sysctlsFor('routed'), []);
  assert.deepEqual(sysctlsFor('routed', pod('routed')), []);
  assert.deepEqual(sysctlsFor('routed', pod('routed'), pod()), BRIDGED, 'one from before a change of wiring');
});

test('a policy whose name is a text is named in one line', () => {
  const name = `x\n! all is well\u001b[2J${'y'.repeat(400)}`;
  const { warnings } = partOf('bridge', [], ALL, {
    kind: 'GlobalNetworkPolicy',
    name,
    spec: {},
    unreadable: 'says nothing',
  });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]?.what ?? '', /^GlobalNetworkPolicy x ! all is well [^\p{Cc}]{1,300}$/u);
});
