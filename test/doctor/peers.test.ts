import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peerFindings } from '../../src/doctor/peers.ts';
import { SILENT } from '../../src/log.ts';
import { SelfTest } from '../../src/probe/self-test.ts';

const texts = (page: Parameters<typeof peerFindings>[0]): string[] =>
  peerFindings(page).map(({ state, what }) => `${state} ${what}`);

test('peers of whom nobody knows yet, or whom nobody has tested, are not said to be none', async () => {
  const early = await new SelfTest(() => undefined, SILENT).page(0, 16);
  assert.deepEqual(texts(early), ['note not tested: the agent does not know them yet']);
  assert.deepEqual(texts({ total: 3, reports: [] }), ['note 3 more were not tested']);
  assert.deepEqual(texts({ total: 0, reports: [] }), ['ok there are none']);
});
