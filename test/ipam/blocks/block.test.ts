import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../../src/ip/address.ts';
import { nthIp, parseCidr } from '../../../src/ip/cidr.ts';
import {
  freeOrdinal,
  handOver,
  isIdle,
  newBlock,
  ordinalOf,
  release,
  take,
} from '../../../src/ipam/blocks/block.ts';
import { decodeBlock, encodeBlock } from '../../../src/store/etcd/block-codec.ts';
import type { Block } from '../../../src/store/ports/blocks.ts';

const CIDRS = ['10.0.0.0/30', '10.0.0.248/29', 'fd00::10/125', '10.0.0.7/32'].map(parseCidr);
const COOLDOWN = 10;

/** Model: the block as a list of addresses, each with its history. */
class Model {
  readonly slots: { handle?: string; sequence?: number; freed?: number; turn: number }[];
  turn = 0;

  constructor(size: number) {
    this.slots = Array.from({ length: size }, () => ({ turn: -1 }));
  }

  /** The ordinal of the best suitable free slot. */
  best(now: number, allowResting: boolean, reserved: ReadonlySet<number>): number | undefined {
    const free = this.slots
      .map((slot, ordinal) => ({ ...slot, ordinal }))
      .filter(({ handle, ordinal }) => handle === undefined && !reserved.has(ordinal))
      .filter(({ freed }) => allowResting || freed === undefined || Math.abs(now - freed) >= COOLDOWN);
    // Never-used slots first, then in order of release.
    return free.sort((a, b) => a.turn - b.turn || a.ordinal - b.ordinal)[0]?.ordinal;
  }
}

type Act =
  | { readonly kind: 'take'; readonly allowResting: boolean; readonly reserved: readonly number[] }
  | { readonly kind: 'ask'; readonly ordinal: number }
  | { readonly kind: 'release'; readonly ordinals: readonly number[] }
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'hand over' };

const ordinals = fc.uniqueArray(fc.nat(8), { maxLength: 4 });
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('take'), allowResting: fc.boolean(), reserved: ordinals }),
  },
  fc.record({ kind: fc.constant('ask'), ordinal: fc.nat(8) }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('release'), ordinals }) },
  // Clocks of different nodes: time may go back a little.
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('wait'), seconds: fc.integer({ min: -3, max: 12 }) }),
  },
  fc.record({ kind: fc.constant('hand over') }),
);

test('a block behaves like a plain list of addresses', () => {
  const run = fc.property(fc.constantFrom(...CIDRS), fc.array(act, { maxLength: 60 }), (cidr, acts) => {
    const size = CIDRS.indexOf(cidr) === 3 ? 1 : CIDRS.indexOf(cidr) === 0 ? 4 : 8;
    const model = new Model(size);
    let now = 1_000_000;
    let block = newBlock(cidr, 'node1', now);
    const sequences = new Set<number>();
    const takeIt = (ordinal: number): void => {
      const sequence = block.sequence;
      assert.ok(!sequences.has(sequence), 'a sequence number is never repeated');
      sequences.add(sequence);
      const handle = `h${sequence}`;
      block = take(block, ordinal, { handle, node: 'node2', pod: 'p' }, now);
      model.slots[ordinal] = { handle, sequence, turn: -1 };
    };
    for (const each of acts) {
      if (each.kind === 'wait') now += each.seconds;
      if (each.kind === 'hand over') block = handOver(block, 'node3', now);
      if (each.kind === 'take') {
        const reserved = new Set(each.reserved);
        const isReserved = (ip: Ip): boolean => reserved.has(ordinalOf(cidr, ip) ?? -1);
        const wish = { now, cooldown: COOLDOWN, allowResting: each.allowResting, isReserved };
        const ordinal = freeOrdinal(block, wish);
        assert.equal(ordinal, model.best(now, each.allowResting, reserved));
        if (ordinal !== undefined) takeIt(ordinal);
      }
      if (each.kind === 'ask') {
        const isFree = each.ordinal < size && model.slots[each.ordinal]?.handle === undefined;
        if (isFree) takeIt(each.ordinal);
        else
          assert.throws(() => take(block, each.ordinal, { handle: 'x', node: 'y' }, now), {
            code: 'INTERNAL',
          });
      }
      if (each.kind === 'release') {
        block = release(block, each.ordinals, now);
        for (const ordinal of each.ordinals) {
          if (model.slots[ordinal]?.handle === undefined) continue;
          model.slots[ordinal] = { freed: now, turn: model.turn++ };
        }
      }
      const used = [...block.allocations].map(([ordinal, { handle, sequence }]) => [
        ordinal,
        handle,
        sequence,
      ]);
      const expected = model.slots.flatMap(({ handle, sequence }, i) =>
        handle ? [[i, handle, sequence]] : [],
      );
      assert.deepEqual(used.sort(byFirst), expected);
      assert.equal(isIdle(block, now + 1000, 1), expected.length === 0);
      block = roundTrip(block);
    }
  });
  fc.assert(run, { numRuns: 400 });
});

/** Encodes and decodes the block as the store does. */
function roundTrip(block: Block): Block {
  const read = decodeBlock(encodeBlock(block));
  assert.deepEqual(read, block);
  assert.deepEqual([...read.released], [...block.released], 'in the same order');
  return read;
}

function byFirst(a: readonly unknown[], b: readonly unknown[]): number {
  return Number(a[0]) - Number(b[0]);
}

test('ordinals and addresses', () => {
  for (const cidr of CIDRS) assert.equal(ordinalOf(cidr, nthIp(cidr, 0)), 0);
  assert.equal(ordinalOf(parseCidr('fd00::10/125'), parseIp('fd00::17')), 7);
  assert.equal(ordinalOf(parseCidr('fd00::10/125'), parseIp('fd00::18')), undefined);
});

test('a release dated far ahead by a wrong clock does not hold the address back', () => {
  const cidr = parseCidr('10.0.0.7/32');
  const year = 365 * 86_400;
  const used = take(newBlock(cidr, 'a', 1000), 0, { handle: 'h', node: 'a' }, 1000);
  const wish = { now: 1000, cooldown: COOLDOWN, isReserved: () => false };
  assert.equal(freeOrdinal(release(used, [0], 1000 + year), wish), 0);
  assert.equal(freeOrdinal(release(used, [0], 1005), wish), undefined);
});

test('errors name the malformed field', () => {
  const good = JSON.parse(
    encodeBlock(take(newBlock(parseCidr('10.0.0.0/30'), 'a', 1), 2, { handle: 'h', node: 'a' }, 1)),
  );
  const wrong: [string, unknown, RegExp][] = [
    ['cidr', '10.0.0.0', /cidr/],
    ['node', undefined, /node: is missing/],
    ['sequence', -1, /sequence/],
    ['allocations', [{ ...good.allocations[0], ordinal: 4 }], /allocations\[0\]\.ordinal/],
    ['allocations', [{ ...good.allocations[0], handle: 7 }], /allocations\[0\]\.handle/],
    ['allocations', {}, /allocations/],
    ['released', [[1]], /released\[0\]\.at/],
    ['released', ['x'], /released\[0\]\.ordinal/],
  ];
  for (const [field, value, message] of wrong) {
    const text = JSON.stringify({ ...good, [field]: value });
    assert.throws(() => decodeBlock(text), { code: 'CONFIG_INVALID', message }, text);
  }
  assert.throws(() => decodeBlock('{'), { code: 'CONFIG_INVALID', message: 'is not JSON' });
});
