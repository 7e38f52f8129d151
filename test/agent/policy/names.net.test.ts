import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressesInUse } from '../../../src/agent/policy/in-use.ts';
import { ANSWERS } from '../../../src/cluster/policy-options.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { hostCidr } from '../../../src/ip/cidr.ts';
import { netnsPath } from '../../../src/linux/netns.ts';
import { Nflog } from '../../../src/linux/nflog.ts';
import { UdpSocket } from '../../../src/linux/udp.ts';
import { observationItems } from '../../../src/policy/names/table.ts';
import { Dnsmasq, NO_DNSMASQ } from '../../dhcp/dnsmasq.ts';
import { dnsMessage } from '../../policy/names/dns-message.ts';
import { podOf } from '../../policy/observe/policies.ts';
import { RoutedNode } from '../../policy/routed-node.ts';
import { NO_KERNEL, Running } from '../../state/namespace.ts';
import { CLIENT, LOCAL, NamesNode, OTHER, RESOLVER, SECOND, SERVER, until } from './names-node.ts';

const RECORDS = [
  '--port=53',
  '--no-resolv',
  '--no-hosts',
  '--host-record=edge.example.net,198.51.100.1,60',
  '--cname=www.example.org,edge.example.net',
  '--host-record=www.example.com,198.51.100.1,60',
];

test('a pod reaches what a resolver says that a name stands for, and nothing else', {
  skip: NO_KERNEL || (process.env.CI ? false : NO_DNSMASQ),
}, async () => {
  await using names = new NamesNode();
  await using dns = new Dnsmasq(`${names.node.name}-out`, names.dir);
  await dns.start(...RECORDS);
  await names.start();
  assert.equal(await names.reaches(CLIENT, SERVER), false);
  assert.equal(await names.reaches(OTHER, SERVER), true, 'no policy is about it');
  // Of another name, though with the same address, nothing follows; nor from a question of another pod.
  assert.ok(await names.ask(CLIENT, RESOLVER, 'www.example.com'));
  assert.ok(await names.ask(OTHER, RESOLVER, 'www.example.org'));
  assert.equal(await names.reaches(CLIENT, SERVER), false);
  assert.ok(await names.ask(CLIENT, RESOLVER, 'WWW.example.org'));
  await until(() => names.reaches(CLIENT, SERVER));
  assert.deepEqual(names.known, [[SERVER, ['www.example.org']]]);
  assert.equal(await names.reaches(CLIENT, SECOND), false);
  // Without an agent, names are still resolved, and what was known is; so it is to the next agent.
  await names.stop();
  assert.ok(await names.ask(CLIENT, RESOLVER, 'www.example.org'));
  assert.equal(await names.reaches(CLIENT, SERVER), true);
  await names.start();
  assert.deepEqual(names.known, [[SERVER, ['www.example.org']]]);
  assert.equal(await names.reaches(CLIENT, SERVER), true);
});

test('nobody is believed but trusted resolvers, and they only when the pod has asked', {
  skip: NO_KERNEL,
}, async () => {
  await using names = new NamesNode();
  await names.start();
  const name = 'www.example.org';
  const record = { owner: name, ip: SERVER };
  const learned = async (): Promise<boolean> => {
    // What is observed arrives in order: once this is known, so is all before.
    using _ = names.answering(netnsPath(names.node.name), LOCAL, 'seen.example.org', {
      owner: 'seen.example.org',
      ip: SECOND,
    });
    assert.ok(await names.ask(CLIENT, LOCAL, 'seen.example.org'));
    await until(() => names.known.some(([ip]) => ip === SECOND));
    return names.known.some(([ip]) => ip === SERVER);
  };
  {
    // Another pod, and another host, that the pod asks.
    using _pod = names.answering(names.node.at(OTHER), OTHER, name, record);
    assert.ok(await names.ask(CLIENT, OTHER, name));
    using _host = names.answering(names.node.at(SECOND), SECOND, name, record);
    assert.ok(await names.ask(CLIENT, SECOND, name));
  }
  // The resolver, which has not been asked: sent by whoever has its address.
  using own = UdpSocket.open(names.node.at(CLIENT), { ip: CLIENT, port: 5000 });
  using liar = UdpSocket.open(names.node.at(RESOLVER), { ip: RESOLVER, port: 53 });
  liar.send(dnsMessage({ question: name, records: [record] }), { ip: CLIENT, port: 5000 });
  await until(() => own.receive() !== undefined);
  // The pod itself, by way of a translation that makes the resolver's address lead to another pod.
  names.run('nft', 'add table ip test');
  names.run('nft', 'add chain ip test pre { type nat hook prerouting priority dstnat; }');
  names.run('nft', `add rule ip test pre ip daddr ${RESOLVER} udp dport 53 dnat to ${OTHER}`);
  {
    using _ = names.answering(names.node.at(OTHER), OTHER, name, record);
    assert.ok(await names.ask(CLIENT, RESOLVER, name));
  }
  assert.equal(await learned(), false);
  assert.equal(await names.reaches(CLIENT, SERVER), false);
  // The node itself is one of them: by the same way as `seen` has been.
  using _ = names.answering(netnsPath(names.node.name), LOCAL, name, record);
  assert.ok(await names.ask(CLIENT, LOCAL, name));
  await until(() => names.reaches(CLIENT, SERVER));
});

test('NodeLocal DNSCache is believed, whose packets are not tracked; and nobody else’s that are not', {
  skip: NO_KERNEL,
}, async () => {
  await using names = new NamesNode();
  await names.start();
  names.run('nft', 'add table ip raw');
  for (const hook of ['prerouting', 'output']) {
    names.run('nft', `add chain ip raw ${hook} { type filter hook ${hook} priority raw; }`);
    names.run('nft', `add rule ip raw ${hook} udp sport 53 notrack`);
    names.run('nft', `add rule ip raw ${hook} udp dport 53 notrack`);
  }
  const name = 'www.example.org';
  {
    using _ = names.answering(names.node.at(RESOLVER), RESOLVER, name, { owner: name, ip: SECOND });
    assert.ok(await names.ask(CLIENT, RESOLVER, name));
  }
  using _ = names.answering(netnsPath(names.node.name), LOCAL, name, { owner: name, ip: SERVER });
  assert.ok(await names.ask(CLIENT, LOCAL, name));
  await until(() => names.reaches(CLIENT, SERVER));
  assert.deepEqual(names.known, [[SERVER, [name]]]);
});

test('an address is in use while a connection to it is tracked, also one that was sent elsewhere', {
  skip: NO_KERNEL,
}, async () => {
  using node = new RoutedNode();
  const netns = netnsPath(node.name);
  node.run('nft', 'add table ip test');
  node.run('nft', 'add chain ip test pre { type nat hook prerouting priority dstnat; }');
  node.run('nft', `add rule ip test pre ip daddr 198.18.0.1 dnat to ${SECOND}`);
  const inUse = async () =>
    [...(await addressesInUse([SERVER, SECOND, RESOLVER, parseIp('::1')], netns))].sort();
  assert.deepEqual(await inUse(), []);
  using socket = UdpSocket.open(node.at(CLIENT));
  socket.send(Buffer.from('?'), { ip: SERVER, port: 4000 });
  assert.deepEqual(await inUse(), [SERVER]);
  socket.send(Buffer.from('?'), { ip: parseIp('198.18.0.1'), port: 4000 });
  assert.deepEqual(await inUse(), [SECOND, SERVER].sort());
});

test('of a flood of answers, the agent sees what it can bear, and the pod gets all', {
  skip: NO_KERNEL,
}, async () => {
  using node = new RoutedNode();
  using running = new Running({ path: netnsPath(node.name) });
  const askers = [podOf('client', CLIENT)];
  running.want(
    observationItems({ observed: 'copied', askers, resolvers: [hostCidr(RESOLVER)], families: [4] }),
  );
  await running.settled();
  const stop = new AbortController();
  let seen = 0;
  const log = Nflog.open({ netns: netnsPath(node.name), group: ANSWERS, bytes: 64, signal: stop.signal });
  const done = log.run(() => seen++);
  const ends = { client: { ip: CLIENT, port: 4053 }, resolver: { ip: RESOLVER, port: 53 } };
  using client = UdpSocket.open(node.at(CLIENT), ends.client);
  using resolver = UdpSocket.open(node.at(RESOLVER), ends.resolver);
  client.send(Buffer.from('?'), ends.resolver);
  let received = 0;
  for (let i = 0; i < 2000; i++) {
    resolver.send(Buffer.from('!'), ends.client);
    while (client.receive()) received++;
  }
  await until(() => {
    while (client.receive()) received++;
    return received === 2000;
  });
  await until(() => seen >= 400);
  assert.ok(seen < 1500, `${seen}`);
  stop.abort();
  await done;
});
