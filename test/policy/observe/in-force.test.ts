import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { MOST_APART } from '../../../src/policy/compile/grouping.ts';
import type { PodEntity } from '../../../src/policy/model/entity.ts';
import { countedItems } from '../../../src/policy/observe/counts.ts';
import { type InForce, inForce } from '../../../src/policy/observe/in-force.ts';
import { nftElement } from '../../../src/state/kinds/nft-element.ts';
import { compiledFor, podOf, WEB } from './policies.ts';

const [client, web] = [podOf('client', '10.0.0.1'), podOf('web', '10.0.0.2')];

const STAGED = {
  ...WEB,
  kind: 'StagedKubernetesNetworkPolicy',
  name: 'web-later',
};

/** What is in force for the web server, if the nth of its elements has counted 10^n packets. */
function shown(): InForce {
  const { facts, pods } = compiledFor([client, web], [WEB, STAGED]);
  const decided = pods.get(web)?.decided ?? [];
  const counters = new Map(
    countedItems(web, decided).map((item, i) => [
      nftElement.key(item),
      { packets: 10 ** i, bytes: 40 * 10 ** i },
    ]),
  );
  return inForce(facts.tiers, web, facts.names, { decided, differing: [] }, counters);
}

test('a rule’s counter is the sum of those of its elements; what isolation denies is counted apart', () => {
  const [ingress, egress] = shown().directions;
  const [policy] = ingress?.tiers[0]?.policies ?? [];
  // Two elements, for each port one, then those of isolation, in both directions.
  assert.deepEqual(policy?.rules[0]?.count, { packets: 11, bytes: 440 });
  assert.deepEqual(ingress?.denied, { packets: 100, bytes: 4000 });
  assert.deepEqual(ingress?.isolatedBy, ['NetworkPolicy default/web']);
  assert.deepEqual(egress?.isolatedBy, []);
  assert.deepEqual(egress?.tiers, []);
});

test('rules are shown with whom and what they are about', () => {
  const [ingress] = shown().directions;
  const [policy, staged] = ingress?.tiers[0]?.policies ?? [];
  assert.deepEqual(policy?.rules[0]?.traffic, ['TCP port 80', 'UDP port 53']);
  assert.match(policy?.rules[0]?.peers.join() ?? '', /app = client/);
  assert.equal(staged?.isStaged, true);
  const none = { packets: 0, bytes: 0 };
  assert.deepEqual(ingress?.staged, [
    { policy: 'StagedKubernetesNetworkPolicy default/web-later', wouldDeny: none, wouldAllow: none },
  ]);
  assert.equal(staged?.rules[0]?.count, undefined);
});

test('rules too many to be counted apart are counted together, and the others by themselves', () => {
  const office = (i: number) => ({
    from: [{ ipBlock: { cidr: `192.0.${i >> 8}.${i & 255}/32` } }],
    ports: [{ port: 443 }],
  });
  const offices = {
    ...WEB,
    name: 'offices',
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: Array.from({ length: MOST_APART }, (_, i) => office(i)),
    },
  };
  const { facts, pods } = compiledFor([client, web], [WEB, offices]);
  const decided = pods.get(web)?.decided ?? [];
  const counters = new Map(
    decided.map(({ item }) => [
      nftElement.key(item),
      { packets: item.key.includes('443') ? 7 : 1, bytes: 0 },
    ]),
  );
  const [ingress] = inForce(facts.tiers, web, facts.names, { decided, differing: [] }, counters).directions;
  const counts = ingress?.tiers[0]?.policies.map(({ rules }) => rules[0]?.count?.packets);
  assert.deepEqual(counts, [0, 2], 'the offices’ first, and the client’s');
  assert.equal(ingress?.together?.packets, 7);
});

test('names are shown with what they stand for, if any of the pod’s rules is about names', () => {
  const [a, b] = ['192.0.2.9', '192.0.2.10'].map(parseIp) as [Ip, Ip];
  const known = new Map([
    [b, ['www.example.org', 'other.example.com']],
    [a, ['www.example.org']],
  ]);
  const spec = {
    tier: 'Admin',
    priority: 1,
    subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } } },
    egress: [{ action: 'Accept', to: [{ domainNames: ['*.example.org'] }] }],
  };
  const { facts } = compiledFor([client, web], [{ kind: 'ClusterNetworkPolicy', name: 'names', spec }]);
  const namesOf = (pod: PodEntity) =>
    inForce(facts.tiers, pod, known, { decided: [], differing: [] }, new Map()).names;
  assert.deepEqual(namesOf(web), [{ name: 'www.example.org', addresses: [a, b] }]);
  assert.equal(namesOf(client), undefined);
});
