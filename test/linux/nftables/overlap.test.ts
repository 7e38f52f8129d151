import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { type ElementText, elementOf } from '../../../src/linux/nftables/values/element.ts';
import { overlapping } from '../../../src/linux/nftables/values/overlap.ts';
import type { SetValue } from '../../../src/linux/nftables/values/table.ts';

const SET = { name: 's', key: ['inet_service', 'inet_service'], interval: true } as const satisfies SetValue;
type Rectangle = readonly [number, number, number, number];

const side = fc.tuple(fc.nat(12), fc.nat(12)).map(([a, b]) => (a <= b ? [a, b] : [b, a]) as [number, number]);
const rectangle = fc.tuple(side, side).map(([[a, b], [c, d]]): Rectangle => [a, b, c, d]);

test('the elements that remain do not overlap, and each removed one overlaps the one it is mapped to', () => {
  const meet = (a: Rectangle, b: Rectangle) => a[0] <= b[1] && b[0] <= a[1] && a[2] <= b[3] && b[2] <= a[3];
  fc.assert(
    fc.property(fc.uniqueArray(rectangle, { maxLength: 12, selector: String }), (rectangles) => {
      const elements = rectangles.map(([a, b, c, d]) =>
        elementOf(SET, [
          { first: a, last: b },
          { first: c, last: d },
        ]),
      );
      const of = (element: ElementText): Rectangle => rectangles[elements.indexOf(element)] ?? [0, 0, 0, 0];
      const bad = overlapping(SET, elements);
      const left = elements.filter((element) => !bad.has(element));
      for (const [i, one] of left.entries()) {
        for (const other of left.slice(i + 1)) {
          assert.ok(!meet(of(one), of(other)));
        }
      }
      for (const [loser, winner] of bad) {
        assert.ok(meet(of(loser), of(winner)));
        assert.ok(elements.indexOf(loser) > elements.indexOf(winner), 'the earlier one stays');
      }
    }),
  );
});

test('equivalent elements have the same text', () => {
  const nets = { name: 'n', key: ['ipv4_addr'], interval: true } as const satisfies SetValue;
  const [a, b] = [parseIp('10.0.0.0'), parseIp('10.0.0.255')];
  assert.deepEqual(elementOf(nets, [{ first: a, last: b }]), { set: 'n', key: '10.0.0.0/24' });
  assert.deepEqual(elementOf(nets, [{ first: a, last: a }]), { set: 'n', key: '10.0.0.0' });
  const web = {
    name: 'w',
    key: ['ifname', 'inet_proto', 'inet_service'],
    data: 'verdict',
  } as const satisfies SetValue;
  assert.deepEqual(elementOf(web, ['eth0', 6, 80], { goto: 'web' }), {
    set: 'w',
    key: '"eth0" . tcp . 80',
    data: 'goto web',
  });
});
