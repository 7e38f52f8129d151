import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PODS } from '../../policy/routed-node.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { Probe } from '../probe.ts';
import { Flood } from './flood.ts';
import { PolicedNode } from './node.ts';

const LABELS = { 0: 'friend', 1: 'isolated', 2: 'friend' };
/** Milliseconds in which a table that somebody has flushed is repaired, and what that let in is ended. */
const REPAIR = 3000;

test('while tables change, or are repaired, nothing denied passes and nothing allowed is lost', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const { node } = policed;
  const [client, server, friend, stranger] = PODS;
  assert.ok(client && server && friend && stranger);
  await policed.become(LABELS);
  const denied = await Flood.start(t, node.nameAt(server));
  denied.send(node.nameAt(stranger), server);
  const ends = [client, server, friend].map((ip) => ({ name: ip, netns: node.nameAt(ip), addresses: [ip] }));
  const allowed = await Probe.start(t, ends);

  // From a few elements to tables that are written as a whole, and back.
  for (const blocks of [1, 30, 3, 0]) await policed.become(LABELS, { blocks });
  for (const labels of [{ ...LABELS, 4: 'friend' }, { ...LABELS, 4: 'isolated confined' }, LABELS])
    await policed.become(labels);
  assert.deepEqual(denied.heard, []);

  for (const verb of ['flush', 'delete']) {
    const begin = Date.now();
    node.run('nft', verb, 'table', 'ip', 'flatnet-policy');
    await eventually(() => denied.heard.length > 0 || Date.now() > begin + REPAIR);
    await sleep(begin + REPAIR + 500 - Date.now());
    assert.deepEqual(
      denied.heard.filter((when) => when > begin + REPAIR),
      [],
      verb,
    );
    t.diagnostic(`${verb}: the last wrong packet after ${(denied.heard.at(-1) ?? begin) - begin} ms`);
  }
  const { sent, lost } = await allowed.end();
  t.diagnostic(`${sent} packets between those that may`);
  assert.deepEqual(lost, []);
});
