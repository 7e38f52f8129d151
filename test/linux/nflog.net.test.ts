import assert from 'node:assert/strict';
import { parseIp } from '../../src/ip/address.ts';
import { type LoggedPacket, type LostPackets, Nflog } from '../../src/linux/nflog.ts';
import { applyRuleset } from '../../src/linux/nftables/ruleset.ts';
import { UdpSocket } from '../../src/linux/udp.ts';
import { eventually } from '../store/servers.ts';
import { kernelTest, sandbox } from './sandbox.ts';

const GROUP = 7;
const RULES = `table ip nflog {
  chain output { type filter hook output priority 0; udp dport 53 log prefix "to dns" group ${GROUP}; }
}
`;

kernelTest(
  'logged packets arrive in their own namespace, cut, and with the prefix of their rule',
  async (t) => {
    const boxes = [sandbox(t), sandbox(t)];
    const stop = new AbortController();
    const heard = boxes.map(({ netns, run }) => {
      run('ip', 'link', 'set', 'lo', 'up');
      const packets: { readonly prefix: string; readonly bytes: Buffer }[] = [];
      const take = (each: LoggedPacket | LostPackets): void => {
        if ('packet' in each) packets.push({ prefix: each.prefix, bytes: Buffer.from(each.packet) });
      };
      // The group is the same in both: groups are a namespace's own.
      const done = Nflog.open({ netns, group: GROUP, bytes: 40, delay: 10, signal: stop.signal }).run(take);
      return { packets, done };
    });
    t.after(async () => {
      stop.abort();
      await Promise.all(heard.map(({ done }) => done));
    });
    const [first, second] = [boxes[0] ?? assert.fail(), boxes[1] ?? assert.fail()];
    await applyRuleset(RULES, { netns: first.netns });
    await applyRuleset(RULES, { netns: second.netns });
    using socket = UdpSocket.open(first.netns);
    socket.send(Buffer.alloc(100), { ip: parseIp('127.0.0.1'), port: 53 });
    const packets = heard[0]?.packets ?? [];
    for (let i = 0; i < 200 && packets.length === 0; i++) await new Promise((done) => setTimeout(done, 10));
    const [{ prefix, bytes } = assert.fail('nothing was logged')] = packets;
    assert.equal(prefix, 'to dns');
    assert.equal(bytes.length, 40);
    // The protocol and the destination's port, behind a header of 20 bytes.
    assert.deepEqual([bytes[9], bytes.readUInt16BE(22)], [17, 53]);
    assert.deepEqual(heard[1]?.packets, []);
    assert.throws(() => Nflog.open({ netns: first.netns, group: GROUP, bytes: 40, signal: stop.signal }), {
      code: 'NETLINK',
      errno: 'EPERM',
    });
    // Its group is free again once a listener has gone.
    stop.abort();
    await Promise.all(heard.map(({ done }) => done));
    const again = new AbortController();
    Nflog.open({ netns: first.netns, group: GROUP, bytes: 40, signal: again.signal });
    again.abort();
  },
);

kernelTest('packets for which there was no room are counted, and no others are lost', async (t) => {
  const { netns, run } = sandbox(t);
  run('ip', 'link', 'set', 'lo', 'up');
  await applyRuleset(RULES, { netns });
  const stop = new AbortController();
  const counts = { told: 0, lost: 0 };
  const done = Nflog.open({ netns, group: GROUP, bytes: 1000, delay: 10, signal: stop.signal }).run(
    (each) => {
      if ('lost' in each) counts.lost += each.lost;
      else counts.told++;
    },
  );
  t.after(async () => {
    stop.abort();
    await done;
  });
  using socket = UdpSocket.open(netns);
  let sent = 0;
  const send = (): void => {
    socket.send(Buffer.alloc(1000), { ip: parseIp('127.0.0.1'), port: 53 });
    sent++;
  };
  // Nobody reads meanwhile.
  for (let i = 0; i < 5000; i++) send();
  await eventually(() => {
    if (counts.told + counts.lost === sent) return true;
    send();
    return false;
  });
  assert.ok(counts.told > 50 && counts.lost > 50, JSON.stringify(counts));
});
