import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp } from '../../../src/ip/address.ts';
import { TCP } from '../../../src/policy/model/traffic.ts';
import { Tally } from '../../../src/policy/observe/tally.ts';

const heading = (port: number) => ({
  source: parseIp('10.0.0.1'),
  destination: parseIp('10.0.0.2'),
  flow: { family: 4 as const, protocol: TCP, port },
});

test('every packet is reported once, a flow at once and then every 30 s, and nothing is left', () => {
  const step = fc.record({
    packets: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 9 }),
    pause: fc.nat(40_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const tally = new Tally();
      const [counted, added] = [new Map<number, number>(), new Map<number, number>()];
      const last = new Map<number, number>();
      let now = 0;
      const look = (): void => {
        for (const { heading: found, packets } of tally.due(now).seen) {
          const port = found.flow.port ?? 0;
          assert.ok(packets > 0);
          assert.ok(now - (last.get(port) ?? Number.NEGATIVE_INFINITY) >= 30_000);
          last.set(port, now);
          counted.set(port, (counted.get(port) ?? 0) + packets);
        }
      };
      for (const { packets, pause } of steps) {
        for (const port of packets) {
          tally.add('ingress denied', heading(port));
          added.set(port, (added.get(port) ?? 0) + 1);
        }
        look();
        for (const port of packets) assert.ok(last.has(port), 'the first report is at once');
        now += pause;
      }
      for (let i = 0; i < 3; i++) {
        now += 30_000;
        look();
      }
      assert.deepEqual([...counted].sort(), [...added].sort());
      assert.equal(tally.isEmpty, true);
    }),
  );
});

test('what is beyond a thousand flows at a time is only counted', () => {
  const tally = new Tally();
  for (let port = 0; port < 1500; port++) tally.add('egress denied', heading(port));
  for (let port = 0; port < 10; port++) tally.add('egress denied', heading(port));
  const { seen, omitted } = tally.due(0);
  assert.deepEqual([seen.length, omitted], [1000, 500]);
  assert.equal(seen[0]?.packets, 2);
  assert.deepEqual(tally.due(1), { seen: [], omitted: 0 });
});
