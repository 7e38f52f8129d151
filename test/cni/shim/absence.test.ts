import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isAwayBriefly } from '../../../src/cni/shim/absence.ts';

function newSocket(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-absence-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'agent.sock');
}

const START = Date.UTC(2026, 10, 28);
const SECOND = 1000;

test('an agent may be away for two minutes', (t) => {
  const socket = newSocket(t);
  const brief = (seconds: number): boolean => isAwayBriefly(socket, START + seconds * SECOND);
  for (let seconds = 0; seconds < 120; seconds += 5) assert.ok(brief(seconds), `${seconds} s`);
  for (let seconds = 120; seconds < 600; seconds += 5) assert.ok(!brief(seconds), `${seconds} s`);
});

test('an absence after a while is a new one, those in quick succession are one', (t) => {
  const socket = newSocket(t);
  const brief = (seconds: number): boolean => isAwayBriefly(socket, START + seconds * SECOND);
  assert.ok(brief(0));
  assert.ok(brief(3600));
  for (const seconds of [3640, 3680, 3719]) assert.ok(brief(seconds));
  assert.ok(!brief(3721));
  assert.ok(!brief(3760));
  assert.ok(brief(3900));
});

test('an agent that has not run since the machine started is not away, but missing', (t) => {
  assert.ok(!isAwayBriefly(join(newSocket(t), 'none', 'agent.sock')));
});
