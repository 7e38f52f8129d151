import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { fence, newBlock, take } from '../../../src/ipam/blocks/block.ts';
import { type Block, DEFAULT_IPAM_CONFIG, type Handle } from '../../../src/store/ports/blocks.ts';
import type { Start } from './conformance.ts';

const CIDR = parseCidr('10.5.0.64/26');
const OTHER = parseCidr('fd00::40/122');
const HANDLE: Handle = { node: 'node1', addresses: [{ ip: parseIp('10.5.0.65'), block: CIDR }] };
const there = <T>(value: T | undefined): T => value ?? assert.fail('does not exist');

export function blocksConformance(start: Start): void {
  describe('blocks', () => {
    test('the configuration has defaults, and changes field by field', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      assert.deepEqual(await blocks.config(), DEFAULT_IPAM_CONFIG);
      await blocks.configure({ cooldown: 5 });
      await open().blocks.configure({ strictAffinity: true });
      assert.deepEqual(await blocks.config(), { ...DEFAULT_IPAM_CONFIG, cooldown: 5, strictAffinity: true });
      assert.deepEqual(await blocks.configure({}), await blocks.config());
    });

    test('a block is created once, and changes only from the version read', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      const many = Array.from({ length: 8 }, (_, i) =>
        open().blocks.createBlock(newBlock(CIDR, `node${i}`, 1)),
      );
      const made = (await Promise.all(many)).filter((each) => each !== undefined);
      assert.equal(made.length, 1);
      const [read] = await blocks.blocks([CIDR]);
      assert.deepEqual(read, made[0]);

      const owner = { handle: 'h', node: 'node1', pod: 'web', namespace: 'shop' };
      const writers = Array.from({ length: 8 }, (_, i) =>
        open().blocks.replaceBlock(there(read), take(there(read).value, i, owner, 2.5)),
      );
      const written = (await Promise.all(writers)).filter((each) => each !== undefined);
      assert.equal(written.length, 1);
      assert.deepEqual(await blocks.blocks([OTHER, CIDR]), written, 'with all its fields');
      assert.deepEqual(await blocks.allBlocks(), written);
      assert.equal(await blocks.deleteBlock(there(read)), false);
      assert.equal(await blocks.deleteBlock(there(written[0])), true);
      assert.deepEqual(await blocks.blocks([CIDR]), []);
    });

    test('a version is never reused, even for the same value', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      const block: Block = newBlock(CIDR, 'node1', 1);
      const first = there(await blocks.createBlock(block));
      await blocks.deleteBlock(first);
      const second = there(await blocks.createBlock(block));
      assert.equal(await blocks.replaceBlock(first, fence(block)), undefined);
      const third = there(await blocks.replaceBlock(second, fence(block)));
      const fourth = there(await blocks.replaceBlock(third, { ...block, sequence: block.sequence + 2 }));
      assert.equal(await blocks.deleteBlock(third), false);
      assert.equal(await blocks.deleteBlock(fourth), true);
      assert.equal(await blocks.replaceBlock(fourth, block), undefined, 'a deleted block is not recreated');

      const affinity = await blocks.announce('node1', CIDR);
      await blocks.deleteAffinity(affinity);
      await blocks.announce('node1', CIDR);
      assert.equal(await blocks.setAffinity(affinity, 'confirmed'), undefined);
      const handle = there(await blocks.writeHandle('h', undefined, HANDLE));
      await blocks.deleteHandle('h', handle);
      await blocks.writeHandle('h', undefined, HANDLE);
      assert.equal(await blocks.deleteHandle('h', handle), false);
    });

    test('affinities: announced once, changed by compare-and-swap, listed by node and age', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      const all = await Promise.all(Array.from({ length: 5 }, () => open().blocks.announce('node2', CIDR)));
      for (const each of all) assert.deepEqual(each, all[0]);
      const confirmed = there(await blocks.setAffinity(there(all[0]), 'confirmed'));
      assert.deepEqual(confirmed.value, { node: 'node2', cidr: CIDR, state: 'confirmed' });
      assert.deepEqual(await blocks.announce('node2', CIDR), confirmed, 'as it is');
      assert.equal(await blocks.setAffinity(there(all[0]), 'pending'), undefined);
      const [late, later] = [await blocks.announce('node2', OTHER), await blocks.announce('node1', CIDR)];
      assert.deepEqual(await blocks.affinities('node2'), [confirmed, late]);
      assert.deepEqual(await blocks.affinities('node'), [], 'a node name does not match as a prefix');
      assert.equal((await blocks.affinities()).length, 3);
      assert.equal(await blocks.deleteAffinity(there(all[0])), false);
      assert.equal(await blocks.deleteAffinity(confirmed), true);
      assert.deepEqual((await blocks.affinities()).map(({ value }) => value.node).sort(), ['node1', 'node2']);
      assert.equal(await blocks.deleteAffinity(later), true);
    });

    test('handles may have any name, and are written and deleted by compare-and-swap', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      const id = 'k8s-pod-network.1/ü%.eth0';
      const many = Array.from({ length: 5 }, () => open().blocks.writeHandle(id, undefined, HANDLE));
      const [written, ...more] = (await Promise.all(many)).filter((each) => each !== undefined);
      assert.equal(more.length, 0);
      assert.deepEqual(await blocks.handles(['none', id]), [undefined, written]);
      const next = there(await blocks.writeHandle(id, there(written), { addresses: [] }));
      assert.deepEqual((await blocks.handles([id]))[0]?.value, { addresses: [] });
      assert.equal(await blocks.writeHandle(id, there(written), HANDLE), undefined);
      assert.equal(await blocks.deleteHandle(id, there(written)), false);
      assert.equal(await blocks.deleteHandle(id, next), true);
      assert.equal(await blocks.writeHandle(id, next, HANDLE), undefined);
      const ids = Array.from({ length: 300 }, (_, i) => `${i}`);
      await blocks.writeHandle('7', undefined, HANDLE);
      const found = await blocks.handles(ids);
      assert.deepEqual([found.length, found.filter(Boolean).length], [300, 1]);
    });

    test('a snapshot contains everything', async (t) => {
      const { open } = await start(t);
      const { blocks } = open();
      const affinity = await blocks.announce('node1', CIDR);
      const block = await blocks.createBlock(newBlock(CIDR, 'node1', 1));
      const handle = await blocks.writeHandle('a/b', undefined, HANDLE);
      await blocks.configure({ maxBlocksPerHost: 3 });
      assert.deepEqual(await open().blocks.snapshot(), {
        config: { ...DEFAULT_IPAM_CONFIG, maxBlocksPerHost: 3 },
        blocks: [block],
        affinities: [affinity],
        handles: new Map([['a/b', handle]]),
        unreadable: [],
      });
    });
  });
}
