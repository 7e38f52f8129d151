import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatnetError } from '../../../src/error.ts';
import { type Family, familyOf, type Ip, parseIp } from '../../../src/ip/address.ts';
import { contains, nthIp, parseCidr } from '../../../src/ip/cidr.ts';
import type { Assigned, Assigner, AssignRequest } from '../../../src/ipam/assigner.ts';
import { borrowedUsage } from '../../../src/ipam/blocks/usage.ts';
import type { BlockStore } from '../../../src/store/ports/blocks.ts';
import { pool, TestPlan } from './plan.ts';

const V4 = pool('four', '10.1.0.0/24', 28);
const V6 = pool('six', 'fd00:1::/116', 124);

function ask(handle: string, more: Partial<AssignRequest> = {}): AssignRequest {
  return { handle, families: [4], attributes: { pod: handle, namespace: 'default' }, ...more };
}

async function one(assigner: Assigner, handle: string, more: Partial<AssignRequest> = {}): Promise<Assigned> {
  const [assigned, ...others] = await assigner.assign(ask(handle, more));
  assert.deepEqual(others, []);
  return assigned ?? assert.fail('nothing was assigned');
}

/** A store to which one change of a block, after `spared`, is still under way: it happens when called. */
function losing(store: BlockStore, late: (() => Promise<unknown>)[], spared = 0): BlockStore {
  let left = spared;
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...parameters: unknown[]) => {
        const call = (): Promise<unknown> => Reflect.apply(value, target, parameters);
        if (name !== 'replaceBlock' || late.length > 0 || left-- > 0) return call();
        late.push(call);
        return Promise.reject(new FlatnetError('no answer', { code: 'STORE_UNAVAILABLE' }));
      };
    },
  });
}

/** Assigns addresses to `count` pods, to fill the node's own blocks. */
async function fill(assigner: Assigner, count: number, name = 'filler'): Promise<Assigned[]> {
  const all: Assigned[] = [];
  for (let i = 0; i < count; i++) all.push(await one(assigner, `${name}-${i}`));
  return all;
}

test('each family gets an address from a block of its own; asking again returns the same', async (t) => {
  const plan = await TestPlan.start(t, V4, V6);
  const { assigner } = plan.node('node1');
  const request = ask('a', { families: [4, 6] });
  const first = await assigner.assign(request);
  assert.deepEqual(
    first.map(({ ip }) => familyOf(ip)),
    [4, 6],
  );
  for (const { ip, block, borrowed } of first) assert.ok(contains(block, ip) && !borrowed);
  assert.deepEqual(
    first.map(({ pool }) => pool),
    ['four', 'six'],
  );
  assert.deepEqual(await assigner.assign(request), first);
  assert.deepEqual(await assigner.held('a'), first);
  assert.deepEqual(
    await assigner.ownBlocks(),
    first.map(({ block }) => block),
  );
  const second = await assigner.assign(ask('b', { families: [4, 6] }));
  assert.deepEqual(
    second.map(({ block }) => block),
    first.map(({ block }) => block),
  );
  assert.deepEqual(
    await assigner.release('a'),
    first.map(({ ip }) => ip),
  );
  assert.deepEqual(await assigner.release('a'), [], 'a second time nothing happens');
  assert.deepEqual(await assigner.held('a'), []);
});

test('a family requested later adds to what the handle has', async (t) => {
  const plan = await TestPlan.start(t, V4, V6);
  const { assigner } = plan.node('node1');
  const four = await one(assigner, 'a');
  const both = await assigner.assign(ask('a', { families: [4, 6] }));
  assert.deepEqual(both[0], four);
  assert.equal(both.length, 2);
  assert.equal((await assigner.release('a')).length, 2);
});

test('both families or neither', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const { assigner } = plan.node('node1');
  await assert.rejects(assigner.assign(ask('a', { families: [4, 6] })), { code: 'OUT_OF_ADDRESSES' });
  assert.deepEqual(await assigner.held('a'), []);
});

test('if another node takes the second family’s last address meanwhile, the first family’s is released', async (t) => {
  const plan = await TestPlan.start(t, V4, pool('six', 'fd00:1::/126', 126));
  const other = plan.node('node2');
  for (let i = 0; i < 3; i++) await one(other.assigner, `theirs${i}`, { families: [6] });
  const { assigner, steps } = plan.node('node1');
  await one(assigner, 'first');
  let writes = 0;
  steps.before = async (step) => {
    if (step === 'replaceBlock' && ++writes === 2) await one(other.assigner, 'last', { families: [6] });
  };
  await assert.rejects(assigner.assign(ask('a', { families: [4, 6] })), { code: 'OUT_OF_ADDRESSES' });
  assert.ok(writes >= 2);
  assert.deepEqual(await assigner.held('a'), []);
  assert.deepEqual(await plan.findings(true), []);
});

test('a retry after a lost reply gets the same addresses', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const { assigner, steps } = plan.node('node1');
  await one(assigner, 'first');
  steps.after = (step) => {
    if (step !== 'replaceBlock') return;
    steps.after = () => {};
    throw new FlatnetError('connection lost', { code: 'STORE_UNAVAILABLE' });
  };
  await assert.rejects(assigner.assign(ask('a')), { code: 'STORE_UNAVAILABLE' });
  const held = await assigner.held('a');
  assert.equal(held.length, 1);
  assert.deepEqual(await assigner.assign(ask('a')), held);
});

test('a retry keeps the borrowed address and frees one that a lost reply left beside it', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const [node1, node2] = [plan.node('node1'), plan.node('node2')];
  const [lent] = await fill(node2.assigner, 1);
  assert.ok(lent);
  await node2.assigner.release('filler-0');
  await fill(node2.assigner, 1, 'other');
  await one(node1.assigner, 'first');
  const borrowed = await one(node1.assigner, 'a', { requested: [nthIp(lent.block, 9)] });
  assert.ok(borrowed.borrowed);
  node1.steps.after = (step) => {
    if (step !== 'replaceBlock') return;
    node1.steps.after = () => {};
    throw new FlatnetError('connection lost', { code: 'STORE_UNAVAILABLE' });
  };
  await assert.rejects(node1.assigner.assign(ask('a')), { code: 'STORE_UNAVAILABLE' });
  assert.equal((await node1.assigner.held('a')).length, 2, 'the lost reply was to a second address');
  assert.deepEqual(await node1.assigner.assign(ask('a')), [borrowed]);
  assert.deepEqual(await node1.assigner.held('a'), [borrowed]);
  assert.deepEqual(await plan.findings(true), []);
});

test('a write whose reply was lost cannot take effect after a retry took another address', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const late: (() => Promise<unknown>)[] = [];
  const { assigner } = plan.node('node1', { store: losing(plan.store, late) });
  await assert.rejects(assigner.assign(ask('a')), { code: 'STORE_UNAVAILABLE' });
  const other = await one(assigner, 'a', { requested: [parseIp('10.1.0.250')] });
  assert.equal(await late[0]?.(), undefined, 'refused by the store');
  assert.deepEqual(await assigner.held('a'), [other]);
});

test('the same, when the retry could take from the cache', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const late: (() => Promise<unknown>)[] = [];
  const { assigner } = plan.node('node1', { store: losing(plan.store, late, 1) });
  await one(assigner, 'first');
  await assert.rejects(assigner.assign(ask('a')), { code: 'STORE_UNAVAILABLE' });
  await one(assigner, 'b', { requested: [parseIp('10.1.0.250')] });
  plan.pools = [pool('low', '10.1.0.128/25', 28)];
  const other = await one(assigner, 'a');
  assert.equal(await late[0]?.(), undefined, 'refused by the store');
  assert.deepEqual(await assigner.held('a'), [other]);
  plan.pools = [V4];
});

test('a write whose reply was lost cannot take effect after the release', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const late: (() => Promise<unknown>)[] = [];
  const { assigner } = plan.node('node1', { store: losing(plan.store, late) });
  await assert.rejects(assigner.assign(ask('a')), { code: 'STORE_UNAVAILABLE' });
  assert.deepEqual(await assigner.release('a'), []);
  assert.equal(await late[0]?.(), undefined);
  assert.deepEqual(await plan.findings(true), []);
});

test('an address rests before it is reused, the longest free first', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/29', 30));
  await plan.configure({ cooldown: 30, maxBlocksPerHost: 1, strictAffinity: true });
  const { assigner } = plan.node('node1');
  const all = await fill(assigner, 4);
  await assigner.release('filler-2');
  plan.wait(1);
  await assigner.release('filler-1');
  plan.wait(29);
  assert.equal((await one(assigner, 'x')).ip, all[2]?.ip, 'rested 30 s');
  assert.equal((await one(assigner, 'y')).ip, all[1]?.ip, 'rested 29 s only, but nothing else is free');
  await assert.rejects(assigner.assign(ask('z')), {
    code: 'OUT_OF_ADDRESSES',
    message: /no more than the 1 blocks it has, and strictAffinity keeps it from borrowing/,
  });
});

test('a new block and then a borrowed address are preferred to a resting one', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/28', 30));
  await plan.configure({ maxBlocksPerHost: 2 });
  const { assigner } = plan.node('node1');
  const other = plan.node('node2').assigner;
  await one(other, 'theirs');
  const all = await fill(assigner, 4);
  await assigner.release('filler-0');
  const next = await one(assigner, 'next');
  assert.notEqual(next.block, all[0]?.block);
  assert.equal(next.borrowed, false);
  await fill(assigner, 3, 'more');
  const borrowed = await one(assigner, 'borrowed');
  assert.ok(borrowed.borrowed);
  const known = async (): Promise<object[]> =>
    borrowedUsage(await plan.store.snapshot()).map(({ ip, node, owner, allocatedTo }) => {
      return { ip, node, owner, allocatedTo };
    });
  assert.deepEqual(await known(), [
    { ip: borrowed.ip, node: 'node1', owner: 'node2', allocatedTo: 'default/borrowed' },
  ]);
  await assigner.release('borrowed');
  assert.deepEqual(await known(), []);
});

test('strict affinity: nothing is borrowed', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/29', 30));
  await plan.configure({ strictAffinity: true });
  const { assigner } = plan.node('node1');
  const theirs = await one(plan.node('node2').assigner, 'theirs');
  await fill(assigner, 4);
  await assert.rejects(assigner.assign(ask('x')), {
    code: 'OUT_OF_ADDRESSES',
    message:
      /pool tiny has no block left .* 3 addresses are free in other nodes' blocks, but strictAffinity keeps it from borrowing; flatnet ipam configure/,
  });
  const free = parseIp(theirs.ip.replace(/\d+$/, (last) => `${Number(last) + 1}`));
  await assert.rejects(assigner.assign(ask('x', { requested: [free] })), {
    code: 'ADDRESS_TAKEN',
    message: /node2/,
  });
});

test('another node’s block is taken over once it has been empty for a minute', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/29', 30));
  await plan.configure({ cooldown: 10 });
  const mine = plan.node('node1').assigner;
  const other = plan.node('node2').assigner;
  const { block } = await one(other, 'theirs');
  await other.release('theirs');
  plan.wait(59);
  await fill(mine, 4);
  assert.ok((await one(mine, 'early')).borrowed);
  await mine.release('early');
  plan.wait(61);
  const got = await one(mine, 'late');
  assert.deepEqual({ block: got.block, borrowed: got.borrowed }, { block, borrowed: false });
  assert.deepEqual(await other.ownBlocks(), []);
  const back = await one(other, 'again');
  assert.ok(back.borrowed, 'the former owner notices');
});

test('two nodes race for the last block: both get addresses, one of them borrowed', async (t) => {
  const plan = await TestPlan.start(t, pool('tiny', '10.1.0.0/30', 30));
  const [a, b] = [plan.node('node1'), plan.node('node2')];
  let other: Assigned | undefined;
  a.steps.before = async () => {
    a.steps.before = () => {};
    other = await one(b.assigner, 'b');
  };
  const mine = await one(a.assigner, 'a');
  assert.equal(other?.borrowed, false);
  assert.equal(mine.borrowed, true);
});

test('killed at any of its writes, a node succeeds at the next try and leaves no trace', async (t) => {
  for (let deadly = 1; deadly <= 4; deadly++) {
    for (const when of ['before', 'after'] as const) {
      const plan = await TestPlan.start(t, V4);
      const dying = plan.node('node1');
      let writes = 0;
      dying.steps[when] = () => {
        if (++writes === deadly) throw new FlatnetError('killed', { code: 'STORE_UNAVAILABLE' });
      };
      await assert.rejects(dying.assigner.assign(ask('a')), { message: 'killed' });
      assert.deepEqual(await plan.findings(), []);
      await one(plan.node('node2').assigner, 'b');
      const { assigner } = plan.node('node1');
      const { borrowed } = await one(assigner, 'a');
      assert.equal(borrowed, false);
      assert.equal((await assigner.ownBlocks()).length, 1);
      assert.deepEqual(await plan.findings(true), [], `after death ${when} write ${deadly}`);
    }
  }
});

test('requested addresses', async (t) => {
  const plan = await TestPlan.start(
    t,
    V4,
    V6,
    pool('manual', '10.2.0.0/24', 28, { assignmentMode: 'Manual' }),
  );
  const { assigner } = plan.node('node1');
  const wish = parseIp('10.2.0.77');
  const [got] = await assigner.assign(ask('a', { requested: [wish] }));
  assert.deepEqual(got, { ip: wish, block: '10.2.0.64/28', pool: 'manual', borrowed: false });
  const other = plan.node('node2').assigner;
  await assert.rejects(other.assign(ask('b', { requested: [wish] })), {
    code: 'ADDRESS_TAKEN',
    message: /default\/a on node1/,
  });
  const next = parseIp('10.2.0.78');
  const both = await other.assign(ask('b', { families: [4, 6], requested: [next] }));
  assert.deepEqual([both[0]?.ip, both[0]?.borrowed, both[1]?.borrowed], [next, true, false]);
  const wrong = (requested: string[], families: Family[] = [4]): Promise<unknown> =>
    other.assign(ask('c', { families, requested: requested.map(parseIp) }));
  await assert.rejects(wrong(['192.0.2.1']), { code: 'CONFIG_INVALID', message: /no enabled pool/ });
  await assert.rejects(wrong(['fd00:1::1']), { code: 'CONFIG_INVALID', message: /family/ });
  await assert.rejects(wrong(['10.1.0.1', '10.1.0.2']), {
    code: 'CONFIG_INVALID',
    message: /one address per family/,
  });
  await assigner.release('a');
  assert.equal(
    (await other.assign(ask('d', { requested: [wish] })))[0]?.ip,
    wish,
    'a requested address need not rest',
  );
});

test('reserved addresses are assigned only on request', async (t) => {
  const plan = await TestPlan.start(t, pool('four', '10.1.0.0/26', 28), pool('six', 'fd00:1::/64', 122));
  const cidrs = ['10.1.0.0/28', '10.1.0.16/29', '10.1.0.24/30', 'fd00:1::/65'].map(parseCidr);
  plan.reservations = [{ name: 'kept', cidrs }];
  const { assigner } = plan.node('node1');
  const isReserved = ({ ip }: Assigned): boolean => cidrs.some((cidr) => contains(cidr, ip));
  const all: Assigned[] = [];
  for (let i = 0; i < 36; i++) all.push(await one(assigner, `${i}`));
  assert.ok(!all.some(isReserved));
  await assert.rejects(assigner.assign(ask('x')), { code: 'OUT_OF_ADDRESSES' });
  assert.equal((await assigner.assign(ask('x', { requested: [parseIp('10.1.0.3')] })))[0]?.ip, '10.1.0.3');
  const [six] = await assigner.assign(ask('six', { families: [6] }));
  assert.ok(six && !isReserved(six), 'half of an IPv6 pool is skipped in no time');
});

test('pools: by node, by namespace, by name, several', async (t) => {
  const plan = await TestPlan.start(
    t,
    pool('a-rack1', '10.1.0.0/24', 28, { nodeSelector: 'rack == "1"' }),
    pool('b-team', '10.2.0.0/24', 28, { namespaceSelector: 'team == "x"' }),
    pool('c-manual', '10.3.0.0/24', 28, { assignmentMode: 'Manual' }),
    pool('d-off', '10.4.0.0/24', 28, { disabled: true }),
  );
  const one1 = plan.node('node1', { nodeLabels: () => ({ rack: '1' }) }).assigner;
  const two = plan.node('node2', { nodeLabels: () => ({ rack: '2' }) }).assigner;
  assert.equal((await one(one1, 'a')).pool, 'a-rack1');
  await assert.rejects(two.assign(ask('b')), { code: 'OUT_OF_ADDRESSES', message: /no pool/ });
  assert.equal((await one(two, 'b', { namespaceLabels: { team: 'x' } })).pool, 'b-team');
  await assert.rejects(two.assign(ask('c', { namespaceLabels: { team: 'y' } })), {
    code: 'OUT_OF_ADDRESSES',
  });
  assert.equal((await one(two, 'd', { pools: ['c-manual'] })).pool, 'c-manual');
  assert.equal(
    (await one(two, 'e', { pools: ['10.1.0.0/24'] })).pool,
    'a-rack1',
    'a pool requested by name need not select the node',
  );
  await assert.rejects(two.assign(ask('f', { pools: ['d-off'] })), {
    code: 'CONFIG_INVALID',
    message: /disabled/,
  });
  await assert.rejects(two.assign(ask('f', { pools: ['nope'] })), {
    code: 'CONFIG_INVALID',
    message: /does not exist.*a-rack1/,
  });
});

test('a pool grown, disabled, deleted and shrunk while in use', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/30', 30));
  const { assigner } = plan.node('node1');
  const before = await fill(assigner, 4);
  await assert.rejects(assigner.assign(ask('x')), { code: 'OUT_OF_ADDRESSES' });

  plan.pools = [pool('p', '10.1.0.0/28', 30)];
  const grown = await one(assigner, 'x');
  assert.ok(!before.some(({ block }) => block === grown.block));
  assert.deepEqual(await plan.findings(true), []);

  plan.pools = [pool('p', '10.1.0.0/28', 30, { disabled: true }), pool('q', '10.9.0.0/28', 30)];
  assert.equal((await one(assigner, 'y')).pool, 'q', 'a disabled pool assigns no addresses');
  assert.equal((await one(assigner, 'x')).ip, grown.ip, 'but existing assignments are kept');

  plan.pools = [pool('q', '10.9.0.0/28', 30)];
  assert.equal((await assigner.held('x'))[0]?.pool, '', 'its pool was deleted');
  assert.deepEqual(
    (await plan.findings(true)).map(({ code }) => code),
    ['BLOCK_OUTSIDE_POOLS', 'BLOCK_OUTSIDE_POOLS'],
  );

  plan.pools = [pool('p', '10.1.0.0/30', 30), pool('q', '10.9.0.0/28', 30)];
  await assigner.release('filler-1');
  plan.wait(60);
  assert.equal((await one(assigner, 'z')).ip, before[1]?.ip, 'the remaining half assigns addresses again');
  assert.deepEqual(await assigner.release('x'), [grown.ip]);
});

test('after a pool is recreated with larger blocks, none is claimed around a block in use', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/27', 30));
  const small = plan.node('node1').assigner;
  const { ip, block } = await one(small, 'a');
  plan.pools = [pool('p', '10.1.0.0/27', 28)];
  const large = plan.node('node2').assigner;
  const got = await fill(large, 16);
  assert.ok(got.every((each) => !contains(each.block, block)));
  const neighbour = await large.assign(
    ask('n', { requested: [ip.replace(/\d+$/, (n) => `${Number(n) ^ 1}`)].map(parseIp) }),
  );
  assert.deepEqual([neighbour[0]?.block, neighbour[0]?.borrowed], [block, true]);
});

test('a requested address whose block would contain a former pool’s smaller one is refused at once', async (t) => {
  const plan = await TestPlan.start(t, pool('p', '10.1.0.0/28', 30));
  const { ip } = await one(plan.node('node1').assigner, 'a');
  plan.pools = [pool('p', '10.1.0.0/28', 28)];
  const { assigner, steps } = plan.node('node2');
  let writes = 0;
  steps.before = () => {
    writes++;
  };
  const elsewhere = parseIp(ip.replace(/\d+$/, (n) => `${(Number(n) + 4) % 16}`));
  await assert.rejects(assigner.assign(ask('b', { requested: [elsewhere] })), {
    code: 'OUT_OF_ADDRESSES',
    message: /needs block 10\.1\.0\.0\/28, which contains node1's block 10\.1\.0\.\d+\/30/,
  });
  assert.equal(writes, 0);
});

test('a /28 and a /30 inside it are claimed at once: only one becomes a block', async (t) => {
  // Before the first node's announcement, when neither has seen the other; and after it, before its block.
  for (const [first, write] of [
    [28, 1],
    [30, 1],
    [28, 2],
    [30, 2],
  ] as const) {
    const plan = await TestPlan.start(t, pool('p', '10.1.0.0/28', first));
    const second = first === 28 ? 30 : 28;
    const a = plan.node('node1');
    const b = plan.node('node2', {
      resources: () => ({ ipPools: [pool('p', '10.1.0.0/28', second)], ipReservations: [] }),
    });
    let other: Assigned | undefined;
    let writes = 0;
    a.steps.before = async () => {
      if (++writes === write) other = await one(b.assigner, 'b').catch(() => undefined);
    };
    const mine = await one(a.assigner, 'a');
    assert.notEqual(mine.ip, other?.ip);
    assert.deepEqual(await plan.findings(), []);
  }
});

test('many pods at once on one node', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const { assigner } = plan.node('node1');
  const all = await Promise.all(Array.from({ length: 40 }, (_, i) => one(assigner, `${i}`)));
  assert.equal(new Set(all.map(({ ip }) => ip)).size, 40);
  assert.equal((await assigner.ownBlocks()).length, 3);
});

test('a queued request can be aborted without disturbing others', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const { assigner, steps } = plan.node('node1');
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  steps.before = () => gate;
  const first = assigner.assign(ask('a'));
  const gone = assert.rejects(assigner.assign(ask('b'), AbortSignal.timeout(20)), { name: 'TimeoutError' });
  const third = assigner.assign(ask('c'));
  await gone;
  open();
  await Promise.all([first, third]);
  assert.deepEqual(await assigner.held('b'), []);
});

test('a leak is released by allocation, not by address', async (t) => {
  const plan = await TestPlan.start(t, V4);
  const { assigner } = plan.node('node1');
  const { ip, block } = await one(assigner, 'a');
  const sequenceOf = async (): Promise<number> => {
    const [stored] = await plan.store.blocks([block]);
    return stored?.value.allocations.get(0)?.sequence ?? assert.fail();
  };
  const release = (handle: string, sequence: number): Promise<readonly Ip[]> =>
    assigner.releaseLeak({ handle, addresses: [{ ip, block, sequence }] }, async () => false);
  const old = await sequenceOf();
  await assigner.release('a');
  await one(assigner, 'a', { requested: [ip] });
  assert.deepEqual(await release('a', old), [], 'that allocation is gone');
  assert.deepEqual(await release('b', await sequenceOf()), [], 'belongs to another handle');
  assert.deepEqual(await release('a', await sequenceOf()), [ip]);
});

test('a node at its block limit moves to a new pool when the old one is disabled', async (t) => {
  const old = pool('old', '10.1.0.0/29', 30);
  const plan = await TestPlan.start(t, old);
  await plan.configure({ maxBlocksPerHost: 1 });
  const { assigner } = plan.node('node1');
  await fill(assigner, 4);
  plan.pools = [{ ...old, disabled: true }, pool('new', '10.2.0.0/29', 30)];
  assert.equal((await one(assigner, 'a')).pool, 'new');
});
