import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cut } from '../../../src/agent/flows/cut.ts';
import { FAMILIES, type Ip, parseIp } from '../../../src/ip/address.ts';
import type { Forwarded } from '../../../src/linux/conntrack/forwarded.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { SILENT } from '../../../src/log.ts';
import { problemText } from '../../../src/problem.ts';
import { NODE, OUTSIDE, OUTSIDE6, PODS, PODS6 } from '../../policy/routed-node.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { eventually } from '../../store/servers.ts';
import { RunningPing } from '../running-ping.ts';
import { Conversation } from './conversation.ts';
import { PolicedNode } from './node.ts';

const BEFORE = { 0: 'friend', 1: 'isolated', 2: 'friend' };
const AFTER = { 1: 'isolated', 2: 'friend' };

for (const family of FAMILIES) {
  test(`IPv${family}: what policies no longer allow ends, and nothing else`, {
    skip: NO_KERNEL,
  }, async (t) => {
    const policed = new PolicedNode(t);
    const { node } = policed;
    const [client, server, friend] = family === 4 ? PODS : PODS6;
    const [outside] = family === 4 ? OUTSIDE : OUTSIDE6;
    assert.ok(client && server && friend && outside);
    await policed.become(BEFORE);
    const talk = (protocol: 'tcp' | 'udp', from: Ip, to: Ip, port: number): Promise<Conversation> =>
      Conversation.start(t, protocol, { netns: node.nameAt(from) }, { netns: node.nameAt(to), ip: to, port });
    const ended = await Promise.all([talk('tcp', client, server, 80), talk('udp', client, server, 81)]);
    const others = await Promise.all([
      talk('tcp', friend, server, 82),
      talk('udp', friend, server, 83),
      talk('tcp', server, client, 84),
      talk('udp', client, outside, 85),
    ]);
    const pings = [client, friend].map((from) => new RunningPing(t, node.nameAt(from), server));
    for (const ping of pings) await ping.answered();
    const [lost, kept] = pings;
    assert.ok(lost && kept);
    const ids = await policed.connections(server);

    await policed.become(AFTER);
    const [tcp, udp] = ended;
    assert.ok(tcp && udp);
    // Both ends are told, so that neither waits.
    await eventually(() => tcp.client.ended !== undefined && tcp.server.ended !== undefined, 5000);
    await sleep(100);
    const before = [...ended.map(({ heard }) => heard), lost.soFar().sent];
    for (const each of others) await each.goesOn();
    await sleep(300);
    assert.deepEqual([...ended.map(({ heard }) => heard), lost.soFar().sent], before);
    assert.deepEqual([tcp.client.ended, tcp.server.ended], ['read ECONNRESET', 'read ECONNRESET']);
    const left = await policed.connections(server);
    const between = (each: Forwarded): boolean => each.source === client && each.destination === server;
    assert.deepEqual(left.filter(between), []);
    const gone = ids.filter(({ id }) => !left.some((each) => each.id === id));
    assert.ok(gone.every(between), 'the others are the same to the kernel');
    assert.deepEqual((await kept.end()).lost, []);

    await policed.become(BEFORE);
    await udp.goesOn();
    await talk('tcp', client, server, 86);
  });
}

test('where there is no room to remember what has been ended, it does not go on either', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const { node } = policed;
  const [client, server] = PODS;
  assert.ok(client && server);
  await policed.become(BEFORE);
  const [tcp, udp] = await Promise.all(
    (['tcp', 'udp'] as const).map((protocol) => {
      const to = { netns: node.nameAt(server), ip: server, port: 80 };
      return Conversation.start(t, protocol, { netns: node.nameAt(client) }, to);
    }),
  );
  assert.ok(tcp && udp);
  await policed.fillEnded('streams');
  const { verdicts } = await policed.become(AFTER);
  await eventually(() => tcp.client.ended !== undefined && tcp.server.ended !== undefined, 5000);
  await sleep(100);
  const before = [tcp.heard, udp.heard];
  await sleep(300);
  assert.deepEqual([tcp.heard, udp.heard], before);
  const silenced = /^an established TCP .*: 10\.0\.0\.2: /;
  assert.match(policed.cut.problems.map(problemText).join(), silenced);
  // So says the next agent.
  const ended = new AbortController();
  t.after(() => ended.abort());
  const options = { log: SILENT, signal: ended.signal, netns: netnsPath(node.name) };
  const next = new Cut({ ...options, applied: async () => ({ undone: [] }) });
  next.update(verdicts);
  await eventually(() => next.problems.length > 0);
  assert.match(next.problems.map(problemText).join(), silenced);
});

test('connections are judged by the addresses that policies see; only rules end those with the node', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const { node } = policed;
  const [client, server, friend, sender, banish] = PODS;
  const [outside] = OUTSIDE;
  assert.ok(client && server && friend && sender && banish && outside);
  node.run('sh', '-c', `nft -f - <<'END'\n${NAT}\nEND`);
  await policed.become({ 0: 'friend', 2: 'friend' });
  const end = (ip: Ip) => ({ netns: node.nameAt(ip) });
  const translated = (from: Ip, port: number, as: number): Promise<Conversation> =>
    Conversation.start(t, 'tcp', end(from), { ...end(server), ip: server, port }, { ip: SERVICE, port: as });
  const toNode = (from: Ip, port: number): Promise<Conversation> =>
    Conversation.start(t, 'udp', end(from), { ...end(NODE), ip: NODE, port });
  const [denied, allowed, own, masqueraded, confined, banned] = await Promise.all([
    translated(client, 8080, 80),
    translated(friend, 8081, 81),
    Conversation.start(t, 'tcp', end(NODE), { ...end(server), ip: server, port: 82 }),
    Conversation.start(t, 'tcp', end(sender), { ...end(outside), ip: outside, port: 83 }),
    toNode(sender, 84),
    toNode(banish, 85),
  ]);
  assert.ok(denied && allowed && own && masqueraded && confined && banned);
  await policed.become({ 1: 'isolated', 2: 'friend', 3: 'confined', 4: 'banned' });
  for (const { client: one } of [denied, masqueraded]) await eventually(() => one.ended !== undefined, 5000);
  await eventually(() => denied.server.ended !== undefined, 5000);
  await sleep(500);
  const ended = [denied, masqueraded, banned];
  const before = ended.map(({ heard }) => heard);
  for (const each of [allowed, own, confined]) await each.goesOn();
  assert.deepEqual(
    ended.map(({ heard }) => heard),
    before,
  );
});

test('what the kernel refuses of another pod’s policies keeps no connections, and no new pod from starting', {
  skip: NO_KERNEL,
}, async (t) => {
  const policed = new PolicedNode(t);
  const [client, server] = PODS;
  assert.ok(client && server);
  const { node } = policed;
  await policed.become(BEFORE);
  const to = { netns: node.nameAt(server), ip: server, port: 80 };
  const talk = await Conversation.start(t, 'tcp', { netns: node.nameAt(client) }, to);
  policed.refused = [{ ...REFUSED, owner: { part: 'policy', name: 'default/another' } }];
  await policed.become(AFTER);
  await eventually(() => talk.client.ended !== undefined, 5000);
  policed.cut.leave({ addresses: [server] });
  assert.equal(await policed.cut.refusal({ addresses: [server] }), undefined);
});

test('where they are kept, connections go on', { skip: NO_KERNEL }, async (t) => {
  const policed = new PolicedNode(t);
  const [client, server] = PODS;
  assert.ok(client && server);
  const { node } = policed;
  await policed.become(BEFORE, { cuts: false });
  const to = { netns: node.nameAt(server), ip: server, port: 80 };
  const talk = await Conversation.start(t, 'udp', { netns: node.nameAt(client) }, to);
  await policed.become(AFTER, { cuts: false });
  await talk.goesOn();
  assert.deepEqual(policed.logged, []);
});

test('who has a pod’s address next has none of its connections', { skip: NO_KERNEL }, async (t) => {
  const policed = new PolicedNode(t);
  const [client, server] = PODS;
  assert.ok(client && server);
  const { node } = policed;
  await policed.become({});
  const to = { netns: node.nameAt(server), ip: server, port: 80 };
  await Conversation.start(t, 'tcp', { netns: node.nameAt(client) }, to);
  const pod = { addresses: [server] };
  assert.equal(await policed.cut.refusal(pod), undefined);
  const before = await policed.connections(server);
  assert.equal(before.length, 1);
  // Its device is gone.
  node.run('ip', 'link', 'set', 'fltp1', 'down');
  policed.cut.leave(pod);
  assert.equal(await policed.cut.refusal(pod), undefined);
  const left = await policed.connections(server);
  assert.deepEqual(
    left.filter(({ id }) => before.some((each) => each.id === id)),
    [],
  );
});

const REFUSED = {
  change: { action: 'add', item: { kind: 'sysctl', path: 'net/ipv4/ip_forward', value: '1' } },
  reason: 'refused',
} as const;
const SERVICE = parseIp('198.18.0.1');
const NAT = `
  table ip services {
    chain prerouting {
      type nat hook prerouting priority dstnat;
      ip daddr ${SERVICE} tcp dport 80 dnat to ${PODS[1]}:8080
      ip daddr ${SERVICE} tcp dport 81 dnat to ${PODS[1]}:8081
    }
    chain postrouting {
      type nat hook postrouting priority srcnat;
      oifname "up0" snat to ${NODE}
    }
  }`;
