import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { API_VERSION, type Document } from '../../../src/cluster/calico/document.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { newBlock, take } from '../../../src/ipam/blocks/block.ts';
import type { Start } from './conformance.ts';
import { BLOCKS, facts } from './facts.ts';
import { views, viewThat } from './feed.ts';

const pool = (name: string, cidr: string, spec: object = {}): Document => ({
  apiVersion: API_VERSION,
  kind: 'IPPool',
  metadata: { name },
  spec: { cidr, ...spec },
});
const peer: Document = {
  apiVersion: API_VERSION,
  kind: 'BGPPeer',
  metadata: { name: 'rack' },
  spec: { peerSelector: 'all()' },
};
const fail = (problem: string): never => assert.fail(problem);

export function resourcesConformance(start: Start): void {
  describe('resources', () => {
    test('resources are applied, changed, read, listed and deleted; concurrent changes are not overwritten', async (t) => {
      const { open } = await start(t);
      const { resources, network } = open();
      await network.write(BLOCKS);
      const seen = views(t, open());
      assert.equal(await resources.apply(pool('a', '10.0.0.0/16')), 'created');
      assert.equal(await open().resources.apply(pool('a', '10.0.0.0/16')), 'unchanged');
      const first = await resources.get('IPPool', 'a');
      assert.equal(await resources.apply(first.document), 'unchanged', 'its own text');
      assert.equal(await resources.apply(pool('a', '10.0.0.0/16', { disabled: true })), 'configured');
      await viewThat(seen, ({ resources: { ipPools } }) => ipPools[0]?.disabled === true);
      const { document } = await resources.get('IPPool', 'a');
      assert.deepEqual(document.spec, { cidr: '10.0.0.0/16', disabled: true });
      assert.notEqual(document.metadata.resourceVersion, first.document.metadata.resourceVersion);
      const stale = { ...first.document, spec: { cidr: '10.0.0.0/16', natOutgoing: true } };
      await assert.rejects(resources.apply(stale), { code: 'STORE_CONFLICT' });

      assert.equal(await resources.apply(peer), 'created');
      const names = async (...kinds: ('IPPool' | 'BGPPeer')[]): Promise<string[]> =>
        (await resources.list(kinds[0], fail)).map((each) => each.document.metadata.name);
      assert.deepEqual(await names('IPPool'), ['a']);
      assert.deepEqual(await names(), ['rack', 'a']);

      await resources.delete('IPPool', 'a');
      await assert.rejects(resources.delete('IPPool', 'a'), { code: 'NOT_FOUND' });
      await assert.rejects(resources.get('IPPool', 'a'), { code: 'NOT_FOUND' });
      await viewThat(seen, (view) => view.resources.ipPools.length === 0);
      assert.equal(await resources.apply(first.document), 'created', 'the version of a deleted resource');
    });

    test('a pool keeps its CIDR and blockSize, and overlaps no other pool and no node', async (t) => {
      const { open } = await start(t);
      const { resources, network, membership } = open();
      await network.write(BLOCKS);
      await membership.join(facts(1), {});
      await resources.apply(pool('a', '10.0.0.0/16'));
      const refused = (document: Document): Promise<void> =>
        assert.rejects(resources.apply(document), { code: 'CONFIG_INVALID' });
      await refused(pool('a', '10.1.0.0/16'));
      await refused(pool('a', '10.0.0.0/16', { blockSize: 28 }));
      await refused(pool('b', '10.0.1.0/24'));
      await refused(pool('b', '192.0.2.0/24'));
      const { pools, nodes } = await resources.occupied();
      assert.deepEqual(pools.map(({ name }) => name).sort(), ['a', 'default-ipv4-ippool']);
      assert.deepEqual(
        nodes.map(({ name }) => name),
        ['node1'],
      );
    });

    test('of overlapping pools applied at once, one is created', async (t) => {
      const { open } = await start(t);
      for (let round = 0; round < 3; round++) {
        const made = await Promise.allSettled(
          Array.from({ length: 5 }, (_, i) =>
            open().resources.apply(pool(`p${round}-${i}`, `10.${round}.0.0/${16 + i}`)),
          ),
        );
        assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 1);
        for (const each of made)
          if (each.status === 'rejected') assert.equal(each.reason.code, 'CONFIG_INVALID');
      }
    });

    test('a pool in use is deleted only by force', async (t) => {
      const { open } = await start(t);
      const { resources, blocks } = open();
      await resources.apply(pool('a', '10.0.0.0/16'));
      const empty = newBlock(parseCidr('10.0.0.64/26'), 'node1', 1);
      const created = (await blocks.createBlock(empty)) ?? fail('it exists');
      await assert.rejects(resources.delete('IPPool', 'a'), { code: 'IN_USE' });
      await resources.apply(pool('a', '10.0.0.0/16', { disabled: true }));
      const inUse = await blocks.replaceBlock(created, take(empty, 3, { handle: 'h', node: 'node1' }, 2));
      await assert.rejects(resources.delete('IPPool', 'a'), { code: 'IN_USE', message: /1 pod/ });
      const tunnel = { handle: 'ipip-tunnel-addr-node1', node: 'node1' };
      const next = await blocks.replaceBlock(inUse ?? fail('it changed'), take(empty, 3, tunnel, 2));
      await resources.delete('IPPool', 'a');
      await resources.apply(pool('a', '10.0.0.0/16'));
      await blocks.replaceBlock(next ?? fail('it changed'), take(empty, 3, { handle: 'h', node: 'n' }, 3));
      await resources.delete('IPPool', 'a', true);
    });
  });
}
