import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type BgpPeer,
  NO_RESOURCES,
  type NodeBgp,
  type Resources,
} from '../../../../src/cluster/resources.ts';
import type { BgpFacts } from '../../../../src/companions/bird/configuration/facts.ts';
import { birdConfig } from '../../../../src/companions/bird/configuration/render.ts';
import type { Session } from '../../../../src/companions/bird/configuration/session.ts';
import { sessionsOf } from '../../../../src/companions/bird/configuration/sessions.ts';
import { type Ip, parseIp } from '../../../../src/ip/address.ts';
import { parseCidr } from '../../../../src/ip/cidr.ts';
import { tunnelMacsOf } from '../../../backends/tunnel-macs.ts';
import { clusters, seenBy } from './arbitraries.ts';
import { MESH_OFF, PEER } from './resources.ts';

/**
 * n1 … nN in 10.0.0.0/24, as n1 sees them. Each of `reflectors` has its own cluster id and the label `rr`.
 */
function cluster(
  size: number,
  resources: Partial<Resources> = {},
  reflectors: readonly number[] = [],
): BgpFacts {
  const nodes = Array.from({ length: size }, (_, i) => ({
    name: `n${i + 1}`,
    labels: reflectors.includes(i + 1) ? { rr: 'true' } : {},
    addresses: { 4: parseIp(`10.0.0.${i + 1}`) },
    subnets: [],
    backend: { type: 'bgp', data: {} },
  }));
  const ids = reflectors.map((n): [string, NodeBgp] => {
    const id = parseIp(`244.0.0.${n}`);
    return [`n${n}`, { name: `n${n}`, labels: {}, routeReflectorClusterId: id }];
  });
  return seenBy(
    {
      nodes,
      pools: [],
      secrets: new Map(),
      resources: { ...NO_RESOURCES, nodes: Object.fromEntries(ids), ...resources },
      self: {
        node: nodes[0] as never,
        underlay: { dev: 'eth0', mtu: 1500, addresses: {}, onLink: [] },
        tunnelMacs: tunnelMacsOf('self'),
      },
    },
    0,
  );
}

const names = (facts: BgpFacts): string[] => sessionsOf(facts).sessions.map(({ name }) => name);

function only(facts: BgpFacts): Session {
  const { sessions, warnings } = sessionsOf(facts);
  assert.deepEqual(warnings, []);
  assert.equal(sessions.length, 1);
  return sessions[0] as Session;
}

test('both ends of a session between nodes compute the same session', () => {
  let pairs = 0;
  fc.assert(
    fc.property(clusters, (facts) => {
      const all = facts.nodes.map((_, i) => sessionsOf(seenBy(facts, i)).sessions);
      for (const [i, sessions] of all.entries()) {
        for (const session of sessions) {
          const far = facts.nodes.findIndex(({ name }) => name === session.node);
          if (far < 0) continue;
          pairs++;
          const own = facts.nodes[i]?.addresses[session.family];
          const reverse = all[far]?.find(({ remote }) => remote.address === own);
          assert.ok(reverse, `${session.name} has no other end`);
          assert.deepEqual(
            [reverse.local.as, reverse.remote.as, reverse.password, reverse.reason, reverse.bfd],
            [session.remote.as, session.local.as, session.password, session.reason, session.bfd],
          );
          assert.notEqual(reverse.passive, session.passive);
        }
      }
    }),
  );
  assert.ok(pairs > 10);
});

test('the order of the facts changes nothing', () => {
  fc.assert(
    fc.property(clusters, (facts) => {
      const { resources } = facts;
      const reversed: BgpFacts = {
        ...facts,
        nodes: facts.nodes.toReversed(),
        pools: facts.pools.toReversed(),
        resources: {
          ...resources,
          bgpPeers: resources.bgpPeers.toReversed(),
          bgpFilters: resources.bgpFilters.toReversed(),
        },
      };
      assert.equal(birdConfig(reversed, '/dev/null').text, birdConfig(facts, '/dev/null').text);
    }),
    { numRuns: 50 },
  );
});

test('mesh: every other node except the reflectors', () => {
  assert.deepEqual(names(cluster(4)), ['Node_10_0_0_2', 'Node_10_0_0_3', 'Node_10_0_0_4']);
  assert.deepEqual(names(cluster(4, {}, [3])), ['Node_10_0_0_2', 'Node_10_0_0_4']);
  assert.deepEqual(names(cluster(4, {}, [1])), []);
  const off = { bgpConfiguration: MESH_OFF };
  assert.deepEqual(names(cluster(4, off)), []);
});

test('reflectors by label: clients peer only with the reflectors, which have static lists of clients', () => {
  const resources = {
    bgpConfiguration: MESH_OFF,
    bgpPeers: [{ ...PEER, nodeSelector: 'all()', peerSelector: 'has(rr)' }],
  };
  const facts = cluster(5, resources, [4, 5]);
  assert.deepEqual(names(facts), ['Node_10_0_0_4', 'Node_10_0_0_5']);
  const reflector = sessionsOf(seenBy(facts, 3)).sessions;
  assert.deepEqual(
    reflector.map(({ name, clusterId }) => [name, clusterId]),
    [1, 2, 3, 5].map((n) => [`Node_10_0_0_${n}`, '244.0.0.4']),
  );
  // One cluster of two reflectors: neither is the other's client.
  const id = '244.0.0.9' as Ip;
  const same = ['n4', 'n5'].map((name) => [name, { name, labels: {}, routeReflectorClusterId: id }]);
  const joined = cluster(5, { ...resources, nodes: Object.fromEntries(same) }, [4, 5]);
  const twin = sessionsOf(
    seenBy({ ...joined, resources: { ...joined.resources, nodes: Object.fromEntries(same) } }, 3),
  );
  assert.deepEqual(
    twin.sessions.map(({ clusterId }) => clusterId),
    [id, id, id, undefined],
  );
});

test('a peer that is also in the mesh has one session, which keeps its name when the mesh is turned off', () => {
  const bgpPeers = [{ ...PEER, nodeSelector: 'all()', peerSelector: 'all()' }];
  const both = sessionsOf(cluster(3, { bgpPeers })).sessions;
  const off = MESH_OFF;
  assert.deepEqual(sessionsOf(cluster(3, { bgpPeers, bgpConfiguration: off })).sessions, both);
  const mesh = sessionsOf(cluster(3)).sessions;
  assert.deepEqual(
    mesh.map(({ reason, ...rest }) => rest),
    both.map(({ reason, ...rest }) => rest),
  );
});

test('peers outside the cluster', () => {
  const tor = { ...PEER, peerIp: parseIp('10.0.0.250'), asNumber: 65001, node: 'n1' };
  const session = only(
    cluster(1, { bgpPeers: [{ ...tor, localAsNumber: 64600, port: 1179, keepaliveTime: 5 }] }),
  );
  assert.equal(session.name, 'Peer_10_0_0_250_port_1179');
  assert.deepEqual([session.local.as, session.remote.as, session.reason], [64600, 65001, 'node specific']);
  assert.equal(session.passive, false);
  assert.deepEqual(names(cluster(1, { bgpPeers: [{ ...tor, node: 'n2' }] })), []);
  assert.equal(
    only(cluster(1, { bgpPeers: [{ ...PEER, peerIp: tor.peerIp, asNumber: 1 }] })).reason,
    'global',
  );
  // The AS of the resource, of the node, of the configuration.
  const nodes = { n1: { name: 'n1', labels: {}, asNumber: 64999 } };
  assert.equal(only(cluster(1, { bgpPeers: [tor], nodes })).local.as, 64999);
});

test('next hops: never self for what a reflector reflects', () => {
  const peer = { ...PEER, peerIp: parseIp('10.0.0.250'), asNumber: 64512 };
  const nextHop = (nextHopMode: BgpPeer['nextHopMode'], asNumber: number, reflectors: number[]): string =>
    only(cluster(1, { bgpPeers: [{ ...peer, nextHopMode, asNumber }] }, reflectors)).nextHop;
  assert.equal(nextHop('Self', 64512, [1]), 'self ebgp');
  assert.equal(nextHop('Self', 64512, []), 'self');
  assert.equal(nextHop('Auto', 64512, [1]), 'self ebgp');
  assert.equal(nextHop('Auto', 65001, []), 'self');
  assert.equal(nextHop('Keep', 65001, [1]), 'keep');
});

test('a node without any session to other nodes always warns', () => {
  let alone = 0;
  fc.assert(
    fc.property(clusters, (facts) => {
      const { sessions, warnings } = sessionsOf(facts);
      if (sessions.length > 0 || facts.nodes.length === 1) {
        assert.ok(!warnings.some((text) => text.includes('this node has no BGP session:')));
        return;
      }
      alone++;
      assert.notEqual(warnings.length, 0);
    }),
    { numRuns: 500 },
  );
  assert.ok(alone > 20, `${alone} nodes were alone`);
});

test('the warning gives the reason: no mesh, no BGPPeer, one that matches no node, a reflector’s cluster id', () => {
  const reason = (facts: BgpFacts): string => {
    const { sessions, warnings } = sessionsOf(facts);
    assert.deepEqual([sessions, warnings.length], [[], 1]);
    return warnings[0]?.replace('this node has no BGP session: ', '') ?? '';
  };
  const off = { bgpConfiguration: MESH_OFF };
  assert.equal(
    reason(cluster(3, off)),
    'the node-to-node mesh is off, and no BGPPeer selects it; add a BGPPeer, or set nodeToNodeMeshEnabled in the BGPConfiguration',
  );
  const bgpPeers = [{ ...PEER, name: 'route-reflectors', nodeSelector: 'all()', peerSelector: 'has(rr)' }];
  assert.equal(
    reason(cluster(3, { ...off, bgpPeers })),
    'the node-to-node mesh is off, and BGPPeer route-reflectors matches no other node (has(rr)); fix the BGPPeer or the nodes’ labels, or set nodeToNodeMeshEnabled in the BGPConfiguration',
  );
  assert.deepEqual(sessionsOf(cluster(3, { ...off, bgpPeers }, [3])).warnings, []);
  assert.equal(
    reason(cluster(3, {}, [1])),
    'its routeReflectorClusterID 244.0.0.1 keeps it out of the node-to-node mesh, and no BGPPeer selects it; add a BGPPeer, or remove the routeReflectorClusterID from Node n1',
  );
  assert.match(reason(cluster(2, {}, [2])), /^the node-to-node mesh has no other node, /);
  assert.doesNotMatch(reason(cluster(3, off, [1])), /nodeToNodeMeshEnabled/);
  assert.deepEqual(sessionsOf(cluster(1, off)).warnings, []);
});

test('a session whose password or filter is missing is omitted, with a warning', () => {
  const password = { name: 'bgp', key: 'tor' };
  const peer = { ...PEER, peerIp: parseIp('10.0.0.250'), asNumber: 65001 };
  const facts = cluster(1, { bgpPeers: [{ ...peer, password }] });
  assert.deepEqual(sessionsOf(facts), {
    sessions: [],
    warnings: ['BGPPeer p: no session with 10.0.0.250: the secret bgp/tor is missing'],
  });
  assert.equal(only({ ...facts, secrets: new Map([['bgp/tor', 'pw']]) }).password, 'pw');
  const quoted = sessionsOf({ ...facts, secrets: new Map([['bgp/tor', 'p"w']]) });
  assert.match(quoted.warnings[0] ?? '', /printable ASCII/);
  const filtered = sessionsOf(cluster(1, { bgpPeers: [{ ...peer, filters: ['gone'] }] }));
  assert.match(filtered.warnings[0] ?? '', /there is no BGPFilter gone/);
});

test('a node or peer with an address BIRD cannot take is left out and named; the others’ sessions stand', () => {
  const facts = cluster(3, {
    bgpPeers: [{ ...PEER, name: 'tor', peerIp: parseIp('10.0.0.9'), asNumber: 1 }],
  });
  const sound = ['Node_10_0_0_2', 'Node_10_0_0_3', 'Peer_10_0_0_9'];
  const names = ({ sessions }: ReturnType<typeof sessionsOf>) => sessions.map(({ name }) => name);
  assert.deepEqual(names(sessionsOf(facts)), sound);
  const hostile = ['0.0.0.0', '127.0.0.1', '224.0.0.5', '255.255.255.255', '10.0.0.1'];
  for (const text of hostile) {
    const address = parseIp(text);
    const node = { ...facts.self.node, name: 'n4', addresses: { 4: address } };
    const seen = sessionsOf({ ...facts, nodes: [...facts.nodes, node] });
    assert.deepEqual(names(seen), sound, text);
    assert.equal(seen.warnings.length, 1);
    const [warning = ''] = seen.warnings;
    assert.ok(warning.startsWith(`node-to-node mesh: no session with ${text}: `), warning);
  }
  const six = { ...facts.self.node, addresses: { ...facts.self.node.addresses, 6: parseIp('fd00::1') } };
  for (const text of ['::', '::1', 'fe80::2ec8:1bff:feab:9e54', 'ff02::5', '::ffff:10.0.0.2']) {
    const peer = { ...PEER, name: 'stored', peerIp: parseIp(text), asNumber: 1 };
    const { bgpPeers } = facts.resources;
    const seen = sessionsOf({
      ...facts,
      self: { ...facts.self, node: six },
      resources: { ...facts.resources, bgpPeers: [...bgpPeers, peer] },
    });
    assert.deepEqual(names(seen), sound, text);
    const [warning = ''] = seen.warnings;
    assert.ok(warning.startsWith(`BGPPeer stored: no session with ${text}: `), warning);
  }
});

test('a shared router id causes a warning', () => {
  const facts = cluster(1);
  const six = (name: string) => ({ ...facts.self.node, name, addresses: { 6: parseIp('fd00::1') } });
  const text = (...nodes: ReturnType<typeof six>[]): string =>
    birdConfig({ ...facts, nodes, self: { ...facts.self, node: nodes[0] as never } }, '/dev/null').text;
  assert.match(text(six('a')), /^router id (?!0\.0\.0\.0)\d+\.\d+\.\d+\.\d+;$/m);
  assert.equal(text(six('a')), text(six('a')));
  // A known FNV-1a collision.
  const { warnings } = birdConfig(
    { ...facts, nodes: [six('costarring'), six('liquid')], self: { ...facts.self, node: six('costarring') } },
    '/dev/null',
  );
  assert.match(warnings.join(), /router id [0-9.]+ is also used by node liquid/);
});

test('encapsulated pools, and pools that are not exported', () => {
  const pools = [
    { cidr: parseCidr('10.244.0.0/16'), ipipMode: 'Always', disableBgpExport: false },
    { cidr: parseCidr('10.245.0.0/16'), ipipMode: 'CrossSubnet', disableBgpExport: true },
    { cidr: parseCidr('fd10::/64'), ipipMode: 'Never', disableBgpExport: false },
  ] as const;
  const { text } = birdConfig({ ...cluster(2), pools }, '/dev/null');
  assert.match(
    text,
    /if net ~ \[ 10\.244\.0\.0\/16\+ \] \|\| \(net ~ \[ 10\.245\.0\.0\/16\+ \] && !\(bgp_next_hop ~ 10\.0\.0\.0\/24\)\) then \{ onlink = true; ifname = "tunl0"; gw = bgp_next_hop; \}/,
  );
  assert.match(
    text,
    /function Announce4\(bool outside\) \{\n {2}if net ~ \[ 10\.245\.0\.0\/16\+ \] then reject;/,
  );
  assert.match(text, /function Announce6\(bool outside\) \{\n {2}if proto = "Kernel6"/);
  const facts = cluster(2);
  const self = { ...facts.self, companion: { onlyReceives: true } };
  const plain = birdConfig({ ...facts, self, pools }, '/dev/null').text;
  assert.match(plain, /function Announce4\(bool outside\) \{\n {2}if net ~ \[ 10\.245/);
  assert.doesNotMatch(plain, /ifname = "tunl0"/, 'while a change spreads no route leads into the tunnel');
});
