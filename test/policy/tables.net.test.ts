import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { netnsPath } from '../../src/linux/netns.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { compilePolicies } from '../../src/policy/compile/compile.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import { UDP } from '../../src/policy/model/traffic.ts';
import { NO_KERNEL, Running } from '../state/namespace.ts';
import { facts, outcome, outcomeAtNode } from './arbitrary.ts';
import { NODE, OUTSIDE, PODS, RoutedNode } from './routed-node.ts';

const PORTS = [80, 81, 8080];

test('the kernel decides as the rules do, from one set of policies to the next', {
  skip: NO_KERNEL,
}, async () => {
  using node = new RoutedNode();
  using running = new Running({ path: netnsPath(node.name) });
  using receivers = new DisposableStack();
  const listening = new Map<string, UdpSocket>();
  for (const ip of [...PODS, ...OUTSIDE, NODE])
    for (const port of PORTS)
      listening.set(`${ip} ${port}`, receivers.use(UdpSocket.open(node.at(ip), { ip, port })));
  const memory = new Memory();
  const seed = Math.floor(Math.random() * 2 ** 31);
  for (const [i, all] of fc.sample(facts(4), { numRuns: 12, seed }).entries()) {
    const present = { ...all, families: [4 as const], devices: 'fltp' };
    const { tables, directory, pods } = compilePolicies(present, memory, i % 2 ? 1 : undefined);
    running.want([...tables, ...directory, ...[...pods.values()].flatMap(({ items }) => items)]);
    await running.settled();
    const local = PODS.filter((ip) => all.subjects.some(({ pod }) => pod.addresses.includes(ip)));
    const others = [...PODS.filter((ip) => all.subjects.length > 0 && local.includes(ip)), ...OUTSIDE];
    const probes = others.flatMap((source) =>
      [...others, NODE].flatMap((destination) => PORTS.map((port) => ({ source, destination, port }))),
    );
    const judged = probes.filter(
      ({ source, destination }) =>
        source !== destination && (local.includes(source) || local.includes(destination)),
    );
    for (const [number, { source, destination, port }] of judged.entries()) {
      using sender = UdpSocket.open(node.at(source), { ip: source, port: 0 });
      sender.send(Buffer.from(`${i} ${number}`), { ip: destination, port });
    }
    await sleep(100);
    const arrived = new Set<string>();
    for (const socket of listening.values())
      for (let data = socket.receive(); data; data = socket.receive()) arrived.add(data.toString());
    for (const [number, { source, destination, port }] of judged.entries()) {
      const decide = destination === NODE ? outcomeAtNode : outcome;
      const { verdict } = decide(all, source, destination, { family: 4, protocol: UDP, port });
      const found = arrived.has(`${i} ${number}`) ? 'accept' : 'drop';
      assert.equal(found, verdict, `seed ${seed}, ${i}: ${source} to ${destination} port ${port}`);
    }
  }
});
