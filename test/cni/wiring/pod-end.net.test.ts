import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { setPodMtu } from '../../../src/cni/wiring/pod-end.ts';
import { FlatnetError } from '../../../src/error.ts';
import { createNetns, deleteNetns } from '../../../src/linux/netns.ts';
import { Host, ipOne, must, Pod } from '../host.ts';

const inNetns = (name: string, ...args: string[]) => execFileSync('ip', ['-n', name, ...args]);
const mtuOf = (netns: string) => ipOne(netns, 'link', 'show', 'dev', 'eth0').mtu;

test('the MTU is set in the namespace that a pod was attached in, and in no other', async () => {
  await using host = new Host();
  using pod = new Pod();
  await must(host, 'ADD', { pod });
  const known = host.pods.get('pod-0 eth0');
  assert.ok(known);
  assert.equal(await setPodMtu(known, 1400, host.path), true);
  assert.equal(await setPodMtu(known, 1400, host.path), false);
  assert.equal(mtuOf(pod.name), 1400);
  // The pod goes, and its path comes to name another namespace.
  deleteNetns(pod.name);
  createNetns(pod.name);
  inNetns(pod.name, 'link', 'add', 'eth0', 'mtu', '1450', 'type', 'veth');
  await assert.rejects(setPodMtu(known, 1300, host.path), /is another network namespace now/);
  assert.equal(mtuOf(pod.name), 1450);
  // The node's own, even if the record says so.
  inNetns(host.netns, 'link', 'add', 'eth0', 'mtu', '1450', 'type', 'veth');
  const { netnsId, ...unknown } = known;
  for (const wrong of [{ ...known, netns: host.path }, { ...unknown, netns: host.path }, unknown])
    await assert.rejects(setPodMtu(wrong, 1300, host.path), FlatnetError);
  assert.equal(mtuOf(host.netns), 1450);
});
