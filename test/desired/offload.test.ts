import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod } from '../../src/cluster/node.ts';
import type { PolicyOptions } from '../../src/cluster/policy-options.ts';
import { desiredState } from '../../src/desired/desired.ts';
import { parseIp } from '../../src/ip/address.ts';
import { collectPolicies } from '../../src/policy/collect.ts';
import { offloadTable } from '../../src/policy/flows/offload.ts';
import { factsOf } from '../backends/cluster.ts';

const POLICY: PolicyOptions = { onChange: 'cut', offload: true, logDenied: false, logGroup: 7 };
const { tiers, problems } = collectPolicies([
  { kind: 'NetworkPolicy', namespace: 'default', name: 'all', spec: { podSelector: {} } },
]);
const POLICIES = { tiers, problems, pods: new Map(), others: [] };

const pod = (n: number, more: Partial<LocalPod>): LocalPod => ({
  containerId: `c${n}`,
  ifName: 'eth0',
  labels: {},
  netns: '',
  addresses: [parseIp(`10.0.1.${n}`)],
  ...more,
});
const ROUTED = pod(7, { wiring: 'routed', hostDevice: 'cali7' });
const BRIDGED = pod(8, { hostDevice: 'veth8' });
const FOREIGN = pod(9, { wiring: 'routed', hostDevice: 'other9', foreign: true });

/** The devices of the flowtable of a node with these pods; undefined if it has none. */
function devicesOf(
  pods: LocalPod[],
  more: { policy?: PolicyOptions; isThere?: boolean; some?: boolean } = {},
) {
  const { policy = POLICY, isThere = true, some = true } = more;
  const facts = factsOf({ size: 1, families: [4], backend: { Type: 'vxlan' }, networks: 1 });
  const { contributions } = desiredState({
    ...facts,
    network: { ...facts.network, policy },
    policies: some ? POLICIES : { ...POLICIES, tiers: [] },
    pods,
    hasFlowtables: isThere,
  });
  const own = contributions.find(({ owner }) => owner.part === 'offload');
  return own?.items.flatMap((item) => (item.kind === 'nft-element' ? [item.key] : []));
}

test('routed packets of pods arrive by these devices, and bridged ones by none', () => {
  const always = ['"eth0"', '"flannel.1"'];
  assert.deepEqual(devicesOf([]), always);
  assert.deepEqual(devicesOf([ROUTED, BRIDGED, FOREIGN]), [...always, '"cali7"', '"cni0"']);
});

test('DNS is not offloaded, whichever way the packet goes: the agent would not see the answers', () => {
  const [{ rules } = assert.fail()] = offloadTable({ devices: 'cali', bridge: 'cni0' }).chains;
  const texts = rules.map(({ rule }) => rule);
  const first = texts.findIndex((rule) => rule.includes('flow add'));
  for (const exempt of ['udp sport 53 accept', 'udp dport 53 accept'])
    assert.ok(texts.slice(0, first).includes(exempt), exempt);
});

test('nothing is offloaded without policies, without flowtables, or where nobody wants it', () => {
  assert.equal(devicesOf([ROUTED], { some: false }), undefined);
  assert.equal(devicesOf([ROUTED], { isThere: false }), undefined);
  assert.equal(devicesOf([ROUTED], { policy: { ...POLICY, offload: false } }), undefined);
});
