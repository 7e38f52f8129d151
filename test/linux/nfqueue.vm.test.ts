import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../src/ip/address.ts';
import { Nfqueue } from '../../src/linux/nfqueue.ts';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { sandbox } from './sandbox.ts';

const QUEUE = 7;
const RULES = `table ip queues {
  chain forward { type filter hook forward priority 0; udp dport 53 ct state new,established queue num ${QUEUE} bypass; }
}
`;
const RECEIVER = { ip: parseIp('10.1.0.2'), port: 53 };

test('packets, also of a bridge, wait for their verdict; without a listener they pass', {
  skip: NO_KERNEL,
  timeout: 240_000,
}, async (t) => {
  const [bridge, sender, receiver] = [sandbox(t), sandbox(t), sandbox(t)];
  bridge.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
  bridge.run('ip', 'link', 'set', 'br0', 'up');
  bridge.run('modprobe', 'br_netfilter');
  bridge.run('sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=1');
  for (const [i, { name, run }] of [sender, receiver].entries()) {
    bridge.run('ip', 'link', 'add', `p${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    bridge.run('ip', 'link', 'set', `p${i}`, 'master', 'br0', 'up');
    run('ip', 'address', 'add', `10.1.0.${i + 1}/24`, 'dev', 'eth0');
    run('ip', 'link', 'set', 'eth0', 'up');
  }
  await applyRuleset(RULES, { netns: bridge.netns });
  using from = UdpSocket.open(sender.netns);
  using to = UdpSocket.open(receiver.netns, RECEIVER);
  const next = async (limit: number): Promise<string | undefined> => {
    for (const end = performance.now() + limit; performance.now() < end; await sleep(10)) {
      const data = to.receive();
      if (data) return data.toString();
    }
    return undefined;
  };
  from.send(Buffer.from('nobody listens'), RECEIVER);
  assert.equal(await next(20_000), 'nobody listens');
  const listen = () => {
    const stop = new AbortController();
    const packets: { id: number; bytes: number }[] = [];
    const queue = Nfqueue.open({ netns: bridge.netns, queue: QUEUE, bytes: 40, signal: stop.signal });
    const done = queue.run(({ id, packet }) => packets.push({ id, bytes: packet.length }));
    const end = (): Promise<void> => {
      stop.abort();
      return done;
    };
    return { queue, packets, end };
  };
  const first = listen();
  t.after(first.end);
  assert.throws(
    () => Nfqueue.open({ netns: bridge.netns, queue: QUEUE, bytes: 40, signal: AbortSignal.abort() }),
    {
      code: 'NETLINK',
    },
  );
  from.send(Buffer.alloc(100, 'held'), RECEIVER);
  for (let i = 0; i < 2000 && first.packets.length === 0; i++) await sleep(10);
  const [{ id, bytes } = assert.fail('nothing was queued')] = first.packets;
  assert.equal(bytes, 40);
  assert.equal(await next(300), undefined);
  first.queue.accept(id);
  assert.match((await next(20_000)) ?? '', /^held/);
  // A second verdict does nothing, and what waits when the listener ends is dropped.
  first.queue.accept(id);
  from.send(Buffer.from('dropped'), RECEIVER);
  for (let i = 0; i < 2000 && first.packets.length === 1; i++) await sleep(10);
  await first.end();
  // Its descriptor may be another's by now.
  first.queue.accept(id);
  from.send(Buffer.from('afterwards'), RECEIVER);
  assert.equal(await next(20_000), 'afterwards');
  // So many at once that neither the queue nor the socket has room for all: the others pass.
  const second = listen();
  t.after(second.end);
  for (let i = 0; i < 1300; i++) from.send(Buffer.from(`${i}`), RECEIVER);
  let passed = 0;
  while ((await next(2000)) !== undefined) passed++;
  assert.ok(passed > 0, `${passed}`);
  assert.ok(second.packets.length >= 500, `${second.packets.length}`);
  for (const packet of second.packets) second.queue.accept(packet.id);
  assert.ok((await next(20_000)) !== undefined);
});
