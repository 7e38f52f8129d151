import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cut } from '../../../src/agent/flows/cut.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { SILENT } from '../../../src/log.ts';
import { problemText } from '../../../src/problem.ts';
import { eventually } from '../../store/servers.ts';

test('the status says why connections go on, and so does whoever waits for their end', async (t) => {
  const ended = new AbortController();
  t.after(() => ended.abort());
  const options = { log: SILENT, signal: ended.signal, netns: '/absent' };
  const cut = new Cut({ ...options, applied: async () => ({ undone: [] }) });
  assert.deepEqual(cut.problems, []);
  const pod = { addresses: [parseIp('10.0.0.1')] };
  cut.leave(pod);
  await eventually(() => cut.problems.length === 1);
  assert.match(cut.problems.map(problemText).join(), /^connections .* go on: .*\/absent.*; modprobe/);
  assert.match((await cut.refusal(pod)) ?? '', /still after 5000 ms: .*\/absent/);
});
