import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readNetwork } from '../../../src/cluster/network.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { type Cidr, overlaps, parseCidr } from '../../../src/ip/cidr.ts';
import type { Limits, Start } from './conformance.ts';
import { BLOCKS, DUAL, facts, LEASES } from './facts.ts';
import { views, viewThat } from './feed.ts';

const SUBNET = parseCidr('10.5.34.0/24');

export function membershipConformance(start: Start, limits: Limits = {}): void {
  describe('membership', () => {
    test('a node gets a subnet of each family, its previous one if possible, and keeps it', async (t) => {
      const { open } = await start(t);
      await open().network.write(DUAL);
      const { membership } = open();
      const claim = await membership.join(facts(1, { dual: true }), { 4: SUBNET });
      assert.equal(claim.subnets[0], SUBNET);
      assert.equal(claim.subnets.length, 2);
      claim.stop();
      const again = await open().membership.join(facts(1, { dual: true }), {});
      assert.deepEqual(again.subnets, claim.subnets);
      const other = await open().membership.join(facts(2), { 4: SUBNET });
      assert.equal(other.subnets.length, 1, 'without an IPv6 address it has no IPv6 subnet');
      assert.notEqual(other.subnets[0], SUBNET);
      const members = await membership.members();
      assert.deepEqual(
        members.map(({ node, subnets, publicIp, backend }) => ({ node, subnets, publicIp, backend })),
        [
          { node: 'node1', subnets: again.subnets, publicIp: '192.0.2.1', backend: 'vxlan' },
          { node: 'node2', subnets: other.subnets, publicIp: '192.0.2.2', backend: 'vxlan' },
        ],
      );
      assert.deepEqual(await membership.names(), new Set(['node1', 'node2']));
    });

    test('nodes that join at once never overlap', async (t) => {
      const { open } = await start(t);
      await open().network.write(LEASES);
      const joining = Array.from({ length: 20 }, (_, i) => open().membership.join(facts(i + 1), {}));
      const subnets = (await Promise.all(joining)).flatMap((claim) => claim.subnets);
      assert.equal(subnets.length, 20);
      for (const [i, a] of subnets.entries()) {
        assert.ok(!subnets.slice(i + 1).some((b: Cidr) => overlaps(a, b)));
      }
    });

    test('errors name what to fix', async (t) => {
      const { open } = await start(t);
      const { network, membership } = open();
      await assert.rejects(membership.join(facts(1), {}), { code: 'NOT_FOUND' });
      await network.write(readNetwork({ Network: '10.5.0.0/22', SubnetLen: 24, Backend: { Type: 'vxlan' } }));
      await assert.rejects(membership.join(facts(1, { name: 'a/b' }), {}), { code: 'NAME_INVALID' });
      await assert.rejects(membership.join(facts(1, { addresses: { 6: parseIp('2001:db8::1') } }), {}), {
        code: 'CONFIG_INVALID',
      });
      for (const i of [1, 2, 3]) await open().membership.join(facts(i), {});
      await assert.rejects(membership.join(facts(4), {}), { code: 'OUT_OF_SUBNETS' });
    });

    test('only one live agent may use a name; a machine may move and come back', {
      skip: limits.challenges === false,
    }, async (t) => {
      const { open } = await start(t);
      await open().network.write(LEASES);
      const { membership } = open();
      assert.equal(await membership.isAlive('node1', 100), false, 'nobody');
      const first = await membership.join(facts(1), {});
      assert.equal(await open().membership.isAlive('node1', 5_000), true);
      const elsewhere = facts(1, { addresses: { 4: parseIp('192.0.2.99') } });
      await assert.rejects(open().membership.join(elsewhere, {}), { code: 'NAME_TAKEN' });
      first.stop();
      assert.equal(await open().membership.isAlive('node1', 100), false);
      const moved = await open().membership.join(elsewhere, {});
      assert.deepEqual(moved.subnets, first.subnets);
    });

    test('a restarted agent ends its predecessor’s claim', async (t) => {
      const { open } = await start(t);
      await open().network.write(LEASES);
      const first = await open().membership.join(facts(1), {});
      await open().membership.join(facts(1), {});
      await assert.rejects(first.lost, { code: 'LEASE_LOST' });
    });

    test('published facts are visible; released or forgotten nodes disappear and free their subnets', async (t) => {
      const { open } = await start(t);
      await open().network.write(LEASES);
      const { membership } = open();
      const seen = views(t, open());
      const one = await membership.join(facts(1), { 4: SUBNET });
      await one.publish(facts(1, { labels: { rack: 'a' } }));
      await viewThat(seen, ({ nodes }) => nodes[0]?.labels.rack === 'a');
      await one.release();
      await viewThat(seen, ({ nodes }) => nodes.length === 0);
      const two = await membership.join(facts(2), { 4: SUBNET });
      assert.deepEqual(two.subnets, [SUBNET]);
      two.stop();
      assert.equal(await membership.forget('node2'), true);
      assert.equal(await membership.forget('node2'), false);
      await viewThat(seen, ({ nodes }) => nodes.length === 0);
      assert.deepEqual(await membership.names(), new Set());
    });

    test('nodes of another store are placed, and their agents find their subnets', async (t) => {
      const { open } = await start(t);
      const { network, membership } = open();
      await network.write(LEASES);
      const [one, two] = [
        { ...facts(1), subnets: [SUBNET] },
        { ...facts(2), subnets: [parseCidr('10.5.35.0/24')] },
      ];
      assert.deepEqual(await membership.place([one, two], true), [
        { node: 'node1', outcome: 'placed' },
        { node: 'node2', outcome: 'placed' },
      ]);
      assert.deepEqual(await membership.names(), new Set(), 'a dry run writes nothing');
      await membership.place([one, two]);
      const view = await viewThat(views(t, open()), ({ nodes }) => nodes.length === 2);
      const known = view.nodes.map(({ name, subnets, addresses, labels }) => ({
        name,
        subnets,
        addresses,
        labels,
      }));
      assert.deepEqual(
        known,
        [one, two].map(({ name, subnets, addresses, labels }) => ({ name, subnets, addresses, labels })),
      );
      assert.deepEqual(
        (await membership.place([one, two])).map(({ outcome }) => outcome),
        ['present', 'present'],
      );
      const rivals = [
        { ...facts(2), subnets: [parseCidr('10.5.36.0/24')] },
        { ...facts(3), subnets: [SUBNET] },
      ];
      const refused = await membership.place(rivals);
      assert.deepEqual(
        refused.map(({ outcome }) => outcome),
        ['refused', 'refused'],
      );
      const claim = await open().membership.join(facts(2), {});
      assert.deepEqual(claim.subnets, two.subnets);
      const other = await open().membership.join(facts(4), { 4: SUBNET });
      assert.ok(!other.subnets.includes(SUBNET));
    });

    test('under the blocks plan a node claims no subnet; default pools are created once', async (t) => {
      const { open } = await start(t);
      const { network, membership, resources } = open();
      await network.write(BLOCKS);
      const claims = await Promise.all([1, 2, 3].map((i) => open().membership.join(facts(i), {})));
      assert.deepEqual(
        claims.map(({ subnets }) => subnets),
        [[], [], []],
      );
      const seen = views(t, open());
      const view = await viewThat(
        seen,
        ({ nodes, resources: { ipPools } }) => nodes.length === 3 && ipPools.length === 1,
      );
      assert.deepEqual(
        view.resources.ipPools.map(({ cidr }) => cidr),
        ['10.5.0.0/16'],
      );
      assert.deepEqual(await membership.members(), [], 'none of them holds a subnet');
      await resources.delete('IPPool', view.resources.ipPools[0]?.name ?? '', true);
      await open().membership.join(facts(4), {});
      await viewThat(seen, ({ nodes, resources: { ipPools } }) => nodes.length === 4 && ipPools.length === 0);
    });
  });
}
