import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { netnsPath } from '../../src/linux/netns.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { compilePolicies } from '../../src/policy/compile/compile.ts';
import { Memory } from '../../src/policy/compile/memory.ts';
import { UDP } from '../../src/policy/model/traffic.ts';
import { Running } from '../state/namespace.ts';
import { facts, outcome, outcomeAtNode } from './arbitrary.ts';
import { balance } from './ipvs.ts';
import { NODE, OUTSIDE, PODS, RoutedNode } from './routed-node.ts';

const SERVERS = [
  { service: parseIp('10.96.0.1'), ip: PODS[1], port: 80 },
  { service: parseIp('10.96.0.2'), ip: OUTSIDE[0], port: 81 },
  { service: parseIp('10.96.0.3'), ip: NODE, port: 8080 },
] as { service: Ip; ip: Ip; port: number }[];

test('what IPVS leads to a server is judged as if it had been sent there', { timeout: 600_000 }, async () => {
  using node = new RoutedNode();
  for (const { service, ...server } of SERVERS) {
    // As kube-proxy does, at kube-ipvs0.
    node.run('ip', 'address', 'add', `${service}/32`, 'dev', 'lo');
    await balance(netnsPath(node.name), { ip: service, port: 53 }, server);
  }
  node.run('ip', 'link', 'set', 'lo', 'up');
  node.run('sysctl', '-qw', 'net.ipv4.vs.conntrack=1');
  using running = new Running({ path: netnsPath(node.name) });
  using receivers = new DisposableStack();
  const listening = SERVERS.map(({ ip, port }) => receivers.use(UdpSocket.open(node.at(ip), { ip, port })));
  const memory = new Memory();
  const seed = Math.floor(Math.random() * 2 ** 31);
  let [dropped, passed] = [0, 0];
  for (const [i, all] of fc.sample(facts(4), { numRuns: 12, seed }).entries()) {
    const [waiting = assert.fail()] = PODS.slice(-1);
    const subjects = all.subjects.filter(({ pod }) => !pod.addresses.includes(waiting));
    const present = { ...all, subjects, waiting: [waiting], families: [4 as const], devices: 'fltp' };
    const { tables, directory, pods } = compilePolicies(present, memory);
    running.want([...tables, ...directory, ...[...pods.values()].flatMap(({ items }) => items)]);
    await running.settled();
    const local = PODS.filter((ip) => subjects.some(({ pod }) => pod.addresses.includes(ip)));
    const isJudged = (source: Ip, ip: Ip): boolean =>
      PODS.includes(ip) ? local.includes(ip) : ip === NODE || PODS.includes(source);
    const probes = [...local, waiting, ...OUTSIDE].flatMap((source) =>
      SERVERS.filter(({ ip }) => source !== ip && isJudged(source, ip)).map((server) => ({ source, server })),
    );
    using senders = new DisposableStack();
    // Of their own: the kernel remembers those before.
    const port = (number: number): number => 20_000 + 200 * i + number;
    const sockets = probes.map(({ source, server }, number) => {
      const sender = senders.use(UdpSocket.open(node.at(source), { ip: source, port: port(number) }));
      sender.send(Buffer.from(`${i} ${number}`), { ip: server.service, port: 53 });
      return sender;
    });
    await sleep(500);
    const arrived = new Set<string>();
    for (const socket of listening)
      for (let data = socket.receive(); data; data = socket.receive()) {
        const number = Number(data.toString().split(' ')[1]);
        arrived.add(data.toString());
        socket.send(data, { ip: probes[number]?.source ?? assert.fail(), port: port(number) });
      }
    await sleep(500);
    for (const [number, { source, server }] of probes.entries()) {
      const decide = server.ip === NODE ? outcomeAtNode : outcome;
      const what = { family: 4 as const, protocol: UDP, port: server.port };
      const verdict = source === waiting ? 'drop' : decide(present, source, server.ip, what).verdict;
      const found = arrived.has(`${i} ${number}`) ? 'accept' : 'drop';
      assert.equal(found, verdict, `seed ${seed}, ${i}: ${source} by ${server.service} to ${server.ip}`);
      const answer = sockets[number]?.receive()?.toString();
      assert.equal(answer, found === 'accept' ? `${i} ${number}` : undefined, 'answers pass');
      if (found === 'accept') passed++;
      else dropped++;
    }
  }
  assert.ok(dropped > 0 && passed > 0, `seed ${seed}: ${dropped} dropped, ${passed} passed`);
});
