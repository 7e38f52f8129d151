import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Measured } from '../../../src/lab/bench/bench.ts';
import { chart } from '../../../src/lab/bench/chart.ts';

const nodes = { throughput: 20, roundTrip: 5, processor: 50 };
const results: Measured[] = [
  { scheme: 'host-gw', mtu: 1500, nodes, pods: { throughput: 18, roundTrip: 6, processor: 60 } },
  { scheme: 'udp', mtu: 1472, nodes, pods: { throughput: 8, roundTrip: 40, processor: 150 } },
];

test('each panel has a bar for each scheme, as long as its ratio to node to node', () => {
  const svg = chart(results);
  const bars = [...svg.matchAll(/<rect x="\d+" y="[\d.]+" width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  );
  assert.equal(bars.length, 6);
  const [fast = 0, slow = 0] = bars;
  assert.ok(Math.abs(slow / fast - 0.4 / 0.9) < 0.001);
  // A panel is as wide as its largest value.
  const [, , , longRoundTrip = 0, , longProcessor = 0] = bars;
  assert.equal(longRoundTrip, longProcessor);
  for (const text of ['0.90', '0.40', '1.20', '8.00', '3.00'])
    assert.ok(svg.includes(`>${text}</text>`), text);
});

test('a chart of nothing is still one', () => {
  assert.match(chart([]), /^<svg[\s\S]*<\/svg>\n$/);
});
