import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeDatagram, encodeDatagram } from '../../src/dhcp/protocol/packet.ts';
import { parseIp } from '../../src/ip/address.ts';
import { linkGet } from '../../src/linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import { ETH_P_IP, PacketSocket } from '../../src/linux/packet.ts';
import { kernelTest, sandbox } from './sandbox.ts';

const [from, to] = [parseIp('192.0.2.1'), parseIp('192.0.2.2')];

function datagram(fromPort: number, toPort: number, text: string, change = (_: Buffer) => {}): Buffer {
  const packet = encodeDatagram({ from, fromPort, to, toPort, payload: Buffer.from(text) });
  change(packet);
  return packet;
}

kernelTest(
  'nothing but whole datagrams between two ports is queued, however much else arrives',
  async (t) => {
    const { netns, run } = sandbox(t);
    run('ip', 'link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'two');
    for (const name of ['one', 'two']) run('ip', 'link', 'set', name, 'up');
    using link = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    const [a, b] = ['one', 'two'].map((name) => link.getSync(linkGet(name)).index) as [number, number];
    using sender = PacketSocket.open({ netns, dev: a, protocol: ETH_P_IP });
    using receiver = PacketSocket.open({ netns, dev: b, protocol: ETH_P_IP, udp: { from: 67, to: 68 } });
    sender.send(datagram(67, 68, 'first'));
    for (let i = 0; i < 2000; i++) sender.send(datagram(67, 69, 'x'.repeat(1000)));
    sender.send(datagram(66, 68, 'another server port'));
    sender.send(datagram(67, 68, 'a fragment', (packet) => packet.writeUInt16BE(0x2000, 6)));
    sender.send(datagram(67, 68, 'a later fragment', (packet) => packet.writeUInt16BE(1, 6)));
    sender.send(datagram(67, 68, 'TCP', (packet) => packet.writeUInt8(6, 9)));
    sender.send(datagram(67, 68, 'last'));
    const texts: string[] = [];
    for (let i = 0; texts.length < 2 && i < 200; i++) {
      const packet = receiver.receive();
      if (packet) texts.push(`${decodeDatagram(packet)?.payload}`);
      else await sleep(5);
    }
    assert.deepEqual(texts, ['first', 'last']);
    assert.equal(receiver.receive(), undefined);
  },
);
