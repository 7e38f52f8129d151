import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BACKENDS } from '../../../src/backends/registry.ts';
import { INSTALLATION } from '../../../src/installation.ts';
import { schemes } from '../../../src/lab/bench/scheme.ts';
import { listNetns } from '../../../src/linux/netns.ts';

const skip = process.geteuid?.() === 0 || process.env.CI ? false : 'needs root';

test('what carries packets in a lab is measured', () => {
  const names = schemes().map(({ name }) => name);
  for (const { type } of BACKENDS) {
    if (['alloc', 'extension', 'aws-vpc', 'gce'].includes(type)) assert.ok(!names.includes(type));
    else assert.ok(names.includes(type), type);
  }
});

test('schemes are measured one after another, and nothing is left', { skip, timeout: 120_000 }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const lab = `b${process.pid}`;
  t.after(() => spawnSync(INSTALLATION.program, ['lab', 'down', '--lab', lab]));
  const svg = join(folder, 'chart.svg');
  const words = [
    'lab',
    'bench',
    'vxlan',
    'gre',
    '--lab',
    lab,
    '--rounds',
    '1',
    '--seconds',
    '1',
    '--svg',
    svg,
  ];
  const { stdout, stderr, status } = spawnSync(INSTALLATION.program, [...words, '--json'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  const { measured, refused } = JSON.parse(stdout);
  const [vxlan] = measured;
  assert.equal(vxlan.scheme, 'vxlan');
  assert.equal(vxlan.mtu, 1450);
  for (const figures of [vxlan.pods, vxlan.nodes])
    for (const value of Object.values(figures)) assert.ok(Number(value) > 0, JSON.stringify(vxlan));
  assert.ok(vxlan.pods.roundTrip > vxlan.nodes.roundTrip);
  // Measured or named, as this kernel has it or not.
  assert.deepEqual([...measured, ...refused].map((each) => each.scheme).sort(), ['gre', 'vxlan']);
  assert.match(readFileSync(svg, 'utf8'), />vxlan</);
  assert.deepEqual(
    listNetns().filter((name) => name.startsWith(lab)),
    [],
  );
});
