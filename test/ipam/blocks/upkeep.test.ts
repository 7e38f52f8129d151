import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { familyOf, type Ip } from '../../../src/ip/address.ts';
import { type Cidr, parseCidr } from '../../../src/ip/cidr.ts';
import type { Assigner } from '../../../src/ipam/assigner.ts';
import { removeNode } from '../../../src/ipam/blocks/forget-node.ts';
import { tunnelAddress } from '../../../src/ipam/blocks/tunnel.ts';
import type { BlockUpkeep } from '../../../src/ipam/blocks/upkeep.ts';
import type { BlockStore } from '../../../src/store/ports/blocks.ts';
import { pool, TestPlan } from './plan.ts';

async function assign(
  assigner: Assigner,
  handle: string,
  ...families: (4 | 6)[]
): Promise<{ ip: Ip; block: Cidr }> {
  const request = {
    handle,
    families: families.length ? families : ([4] as const),
    attributes: { pod: handle },
  };
  return (await assigner.assign(request))[0] ?? assert.fail();
}

const FOUR = pool('four', '10.1.0.0/26', 30);

test('an empty block is released once seen empty twice and rested; one per family stays', async (t) => {
  const plan = await TestPlan.start(t, FOUR, pool('six', 'fd00::/116', 126));
  const { assigner, upkeep } = plan.node('node1');
  for (let i = 0; i < 9; i++) await assign(assigner, `${i}`, 4, 6);
  const blocks = await assigner.ownBlocks();
  assert.equal(blocks.length, 6);
  for (let i = 3; i < 9; i++) await assigner.release(`${i}`);
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), []);
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), [], 'addresses still rest');
  plan.wait(30);
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), [], 'the first observation');
  const gone = await upkeep.releaseEmptyBlocks();
  assert.deepEqual(gone.map(familyOf).sort(), [4, 4, 6, 6]);
  for (let i = 0; i < 3; i++) await assigner.release(`${i}`);
  plan.wait(30);
  for (let i = 0; i < 3; i++) assert.deepEqual(await upkeep.releaseEmptyBlocks(), []);
  assert.deepEqual((await assigner.ownBlocks()).map(familyOf), [4, 6]);
});

test('a block used between the two checks, or at the last moment, stays', async (t) => {
  const plan = await TestPlan.start(t, FOUR);
  const { assigner, upkeep, steps } = plan.node('node1');
  for (let i = 0; i < 5; i++) await assign(assigner, `${i}`);
  await assigner.release('4');
  plan.wait(30);
  await upkeep.releaseEmptyBlocks();
  await assign(assigner, '4');
  await assigner.release('4');
  plan.wait(30);
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), [], 'empty again is not still empty');
  steps.before = async () => {
    steps.before = () => {};
    await assign(plan.node('node1').assigner, 'late');
  };
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), []);
  assert.equal((await assigner.held('late')).length, 1);
});

test('a block of a disabled or deleted pool is not kept', async (t) => {
  const plan = await TestPlan.start(t, FOUR);
  const { assigner, upkeep } = plan.node('node1');
  const { block } = await assign(assigner, 'a');
  await assigner.release('a');
  plan.wait(30);
  plan.pools = [{ ...FOUR, disabled: true }];
  await upkeep.releaseEmptyBlocks();
  assert.deepEqual(await upkeep.releaseEmptyBlocks(), [block]);
});

/** Collects garbage; `live` is the first list, `liveNow` the answer right before the release. */
function collect(
  upkeep: BlockUpkeep,
  live: string[],
  liveNow: string[] = live,
  everywhere = false,
): Promise<readonly Ip[]> {
  return upkeep.collectGarbage(
    { live: new Set(live), isLive: async (handle) => liveNow.includes(handle) },
    60,
    everywhere,
  );
}

test('garbage: seen twice, over the grace time, checked again; others’ pods and the tunnel are left alone', async (t) => {
  const plan = await TestPlan.start(t, FOUR, pool('six', 'fd00::/116', 126));
  const { assigner, upkeep } = plan.node('node1');
  const other = plan.node('node2').assigner;
  plan.pools = plan.pools.map((each) => ({ ...each, ipipMode: 'Always' }));
  const tunnel = await tunnelAddress(assigner, { name: 'node1', labels: {} }, plan.pools);
  await assign(assigner, 'lives', 4, 6);
  await assign(assigner, 'leaks', 4, 6);
  await assign(other, 'theirs');
  assert.deepEqual(await collect(upkeep, ['lives']), [], 'the first time');
  plan.wait(59);
  assert.deepEqual(await collect(upkeep, ['lives']), [], 'within the grace time');
  plan.wait(1);
  assert.deepEqual(await collect(upkeep, ['lives'], ['lives', 'leaks']), [], 'the handle is live again');
  assert.deepEqual(await collect(upkeep, ['lives']), [], 'the leak counts as first seen again');
  plan.wait(60);
  assert.equal((await collect(upkeep, ['lives'])).length, 2, 'both families');
  assert.equal((await other.held('theirs')).length, 1);
  assert.equal((await assigner.held('lives')).length, 2);
  assert.deepEqual(await assigner.held(`ipip-tunnel-addr-node1`), [tunnel]);
});

test('garbage: a handle reused during collection stays; borrowed addresses are collected', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/29', 30));
  await plan.configure({ maxBlocksPerHost: 1 });
  const { assigner, upkeep, steps } = plan.node('node1');
  await assign(plan.node('node2').assigner, 'theirs');
  const all: { ip: Ip }[] = [];
  for (let i = 0; i < 5; i++) all.push(await assign(assigner, `${i}`));
  const live = ['0', '1', '2'];
  await collect(upkeep, live, live, true);
  plan.wait(60);
  steps.before = async () => {
    steps.before = () => {};
    const again = plan.node('node1').assigner;
    await again.release('3');
    await again.assign({
      handle: '3',
      families: [4],
      attributes: {},
      requested: [all[3]?.ip ?? assert.fail()],
    });
  };
  assert.deepEqual(await collect(upkeep, live), [all[4]?.ip]);
  assert.equal((await assigner.held('3')).length, 1);
});

test('garbage: a full scan finds borrowed addresses, later scans remember them; a handle goes as a whole', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/29', 30), pool('six', 'fd00::/116', 126));
  await plan.configure({ maxBlocksPerHost: 1 });
  const before = plan.node('node1').assigner;
  await assign(plan.node('node2').assigner, 'theirs');
  for (let i = 0; i < 4; i++) await assign(before, `${i}`);
  await assign(before, 'borrowed');
  let { upkeep } = plan.node('node1');
  const live = ['0', '1', '2', '3'];
  const scan = (everywhere = false): Promise<readonly Ip[]> => collect(upkeep, live, live, everywhere);
  await scan();
  plan.wait(60);
  assert.deepEqual(await scan(), [], 'not scanned yet');
  assert.deepEqual(await scan(true), []);
  plan.wait(60);
  assert.equal((await scan()).length, 1, 'known since');
  assert.deepEqual(await before.held('borrowed'), []);

  plan.wait(30);
  assert.equal((await before.assign({ handle: 'both', families: [6, 4], attributes: {} })).length, 2);
  upkeep = plan.node('node1').upkeep;
  await scan();
  plan.wait(60);
  assert.equal((await scan()).length, 2, 'the IPv4 address is borrowed, the IPv6 address is not');
});

test('garbage: a handle requested while being collected gets an address that stays', async (t) => {
  const plan = await TestPlan.start(t, FOUR);
  const { assigner, upkeep } = plan.node('node1');
  await assign(assigner, 'leaks');
  await collect(upkeep, []);
  plan.wait(60);
  let again: Promise<{ ip: Ip }> | undefined;
  const isLive = async (): Promise<boolean> => {
    again = assign(assigner, 'leaks');
    await sleep(50);
    return false;
  };
  assert.equal((await upkeep.collectGarbage({ live: new Set(), isLive }, 60)).length, 1);
  assert.equal((await assigner.held('leaks')).length, 0);
  const got = await again;
  assert.deepEqual(
    (await assigner.held('leaks')).map(({ ip }) => ip),
    [got?.ip],
  );
});

test('addresses of running pods that the store lost are regained; those taken by others are reported', async (t) => {
  const plan = await TestPlan.start(t, FOUR, pool('six', 'fd00::/116', 126));
  const { assigner, upkeep } = plan.node('node1');
  const uses = [];
  for (const handle of ['a', 'b', 'c']) {
    const all = await assigner.assign({ handle, families: [4, 6], attributes: { pod: handle } });
    uses.push({ handle, attributes: { pod: handle }, addresses: all.map(({ ip }) => ip) });
  }
  assert.deepEqual(await upkeep.regain(uses), { regained: [], contested: [] });
  await eraseEverything(plan.store);
  const lost = uses[2]?.addresses[0] ?? assert.fail();
  await plan.node('node2').assigner.assign({
    handle: 'other',
    families: [4],
    attributes: { pod: 'other' },
    requested: [lost],
  });
  const { regained, contested } = await upkeep.regain(uses);
  assert.equal(regained.length, 5);
  assert.deepEqual(
    contested.map(({ ip, handle }) => ({ ip, handle })),
    [{ ip: lost, handle: 'c' }],
  );
  assert.match(contested[0]?.reason ?? '', /default\/other on node2/);
  assert.equal((await assigner.held('a')).length, 2);
});

test('removing a node frees everything except blocks that others borrow from', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/28', 30));
  await plan.configure({ maxBlocksPerHost: 2 });
  const gone = plan.node('gone').assigner;
  const { assigner } = plan.node('node1');
  for (let i = 0; i < 5; i++) await assign(gone, `g${i}`);
  for (let i = 0; i < 8; i++) await assign(assigner, `${i}`);
  const borrowed = await assign(assigner, 'borrowed');
  await assign(gone, 'g5');
  await plan.store.announce('gone', parseCidr('10.9.0.0/30'));
  const removed = await removeNode(plan.store, 'gone', () => plan.clock);
  assert.equal(removed.released.length, 6);
  assert.equal(removed.blocks.length, 1);
  assert.deepEqual(removed.kept, [borrowed.block]);
  assert.deepEqual(await plan.findings(true), []);
  await assigner.release('borrowed');
  assert.deepEqual(await removeNode(plan.store, 'gone', () => plan.clock), {
    released: [],
    blocks: [borrowed.block],
    kept: [],
  });
  assert.deepEqual(await removeNode(plan.store, 'gone', () => plan.clock), {
    released: [],
    blocks: [],
    kept: [],
  });
});

test('the tunnel address stays while its pool is encapsulated, follows the pools and is released', async (t) => {
  const plain = pool('a-plain', '10.1.0.0/26', 30);
  const [ipip, other] = [
    pool('b', '10.2.0.0/26', 30, { ipipMode: 'Always' }),
    pool('c', '10.3.0.0/26', 30, { ipipMode: 'CrossSubnet' }),
  ];
  const plan = await TestPlan.start(t, plain, ipip);
  const { assigner } = plan.node('node1');
  const get = async (): Promise<string | undefined> =>
    (await tunnelAddress(assigner, { name: 'node1', labels: { rack: '1' } }, plan.pools))?.pool;
  assert.equal(await get(), 'b');
  assert.equal(await get(), 'b');
  assert.equal((await assigner.held('ipip-tunnel-addr-node1')).length, 1);
  plan.pools = [plain, { ...ipip, ipipMode: 'Never' }, other];
  assert.equal(await get(), 'c');
  plan.pools = [plain, { ...other, ipipMode: 'Never' }];
  assert.equal(await get(), undefined);
  assert.deepEqual(await assigner.held('ipip-tunnel-addr-node1'), []);
  plan.pools = [{ ...other, nodeSelector: 'rack == "2"' }];
  assert.equal(await get(), undefined, 'a pool for other nodes');
});

async function eraseEverything(store: BlockStore): Promise<void> {
  const { blocks, affinities, handles } = await store.snapshot();
  for (const block of blocks) await store.deleteBlock(block);
  for (const affinity of affinities) await store.deleteAffinity(affinity);
  for (const [id, handle] of handles) await store.deleteHandle(id, handle);
}
