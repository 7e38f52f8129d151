import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ip } from '../../../src/ip/address.ts';
import { withNetns } from '../../../src/linux/netns.ts';
import { offloadDevice, offloadTable } from '../../../src/policy/flows/offload.ts';
import { PODS, PODS6 } from '../../policy/routed-node.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { Conversation } from './conversation.ts';
import { PolicedNode } from './node.ts';
import { Overlay } from './overlay.ts';

const DEVICES = ['fltp0', 'fltp1', 'fltp2', 'fltp3', 'fltp4', 'fltp5', 'up0'];
const BESIDES = [offloadTable({ devices: 'fltp', bridge: 'cni0' }), ...DEVICES.map(offloadDevice)];
const BEFORE = { 0: 'friend', 1: 'isolated', 2: 'friend' };
const AFTER = { 1: 'isolated', 2: 'friend' };
/** Milliseconds after which the kernel has noticed that an offloaded connection is no longer known. */
const NOTICED = 5000;

test('what lasts is offloaded, through the pods’ queues, and ends as anything else does', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const { node } = policed;
  const run = (command: string): string =>
    execFileSync('ip', ['netns', 'exec', node.name, 'sh', '-c', command], { encoding: 'utf8' });
  // A pod that may send and receive only so much: as the agent limits it.
  run('tc qdisc add dev fltp0 root tbf rate 100mbit burst 100k latency 100ms');
  run('ip link add ifb0 type ifb && ip link set ifb0 up');
  run('tc qdisc add dev ifb0 root tbf rate 100mbit burst 100k latency 100ms');
  run('tc qdisc add dev fltp0 clsact');
  run('tc filter add dev fltp0 ingress matchall action mirred egress redirect dev ifb0');
  run('nft add table inet seen');
  run('nft add chain inet seen forward "{ type filter hook forward priority 300; }"');
  for (const port of [80, 82]) run(`nft add rule inet seen forward th dport ${port} counter`);
  await policed.become(BEFORE, { besides: BESIDES });

  const [client, server, friend] = PODS;
  const [, server6, friend6] = PODS6;
  assert.ok(client && server && friend && server6 && friend6);
  const talk = (from: Ip, to: Ip, port: number): Promise<Conversation> =>
    Conversation.start(t, 'tcp', { netns: node.nameAt(from) }, { netns: node.nameAt(to), ip: to, port });
  const limited = await talk(client, server, 80);
  const kept = await talk(friend6, server6, 82);
  const offloaded = (): number => run('cat /proc/net/nf_conntrack').split('[OFFLOAD]').length - 1;
  await eventually(() => offloaded() === 2, 60_000);

  const sent = (device: string): number =>
    Number(/Sent \d+ bytes (\d+)/.exec(run(`tc -s qdisc show dev ${device} root`))?.[1]);
  const seen = (): number[] =>
    [...run('nft list table inet seen').matchAll(/packets (\d+)/g)].map(([, packets]) => Number(packets));
  const before = { seen: seen(), to: sent('fltp0'), from: sent('ifb0') };
  for (const each of [limited, kept]) await each.goesOn();
  const [, last] = seen();
  assert.equal(last, before.seen[1], 'nothing of it passes chains');
  assert.ok(sent('fltp0') > before.to + 5, 'what the pod receives is still queued');
  assert.ok(sent('ifb0') > before.from + 5, 'what it sends, too');

  await policed.become(AFTER, { besides: BESIDES });
  await eventually(() => limited.client.ended !== undefined && limited.server.ended !== undefined, 120_000);
  await sleep(NOTICED);
  const { heard } = limited;
  await kept.goesOn();
  await sleep(1000);
  assert.deepEqual(limited.heard, heard);
});

test('what a bridged pod sends through a tunnel is offloaded', { skip: NO_KERNEL }, async (t) => {
  using overlay = new Overlay();
  using running = new Running(overlay);
  const table = offloadTable({ devices: 'cali', bridge: 'cni0' });
  running.want([table, ...['u0', 'flannel.1', 'cni0'].map(offloadDevice)]);
  await running.settled();
  const [here, there] = [overlay.pod(1), overlay.pod(2)];
  const both = [
    await Conversation.start(t, 'tcp', here, { ...there, port: 80 }),
    await Conversation.start(t, 'tcp', there, { ...here, port: 81 }),
  ];
  const tracked = () =>
    withNetns(overlay.path, () => readFileSync('/proc/thread-self/net/nf_conntrack', 'utf8'));
  await eventually(() => tracked().split('[OFFLOAD]').length - 1 === 2, 60_000);
  for (const each of both) await each.goesOn();
});
