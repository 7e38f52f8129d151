import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pause } from '../../../src/async/pause.ts';
import { call, Host, must, Pod } from '../host.ts';

test('STATUS reports a node that is not ready, but not one without free addresses, whose pods would be evicted', async () => {
  await using host = new Host({ subnets: ['10.90.1.0/30'], networks: [] });
  assert.deepEqual(await call(host, 'STATUS'), { exit: 0, out: undefined });
  host.notReady = 'no lease yet';
  const { out } = await call(host, 'STATUS');
  assert.deepEqual([out?.code, out?.details], [50, 'no lease yet']);
  host.notReady = undefined;
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  const refused = await call(host, 'ADD', { id: 'next', pod, ifName: 'eth1' });
  assert.match(String(refused.out?.msg), /no IP addresses available/);
  assert.equal((await call(host, 'STATUS')).exit, 0);
});

test('STATUS waits for a node that is about to be ready: a kubelet would call it not ready, and its pods with it', async () => {
  await using host = new Host();
  host.notReady = 'no answer from the store yet';
  const answer = call(host, 'STATUS');
  await pause(300);
  host.notReady = undefined;
  assert.deepEqual(await answer, { exit: 0, out: undefined });
});
