import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import fc from 'fast-check';
import { egressProgram } from '../../../../src/companions/udp/fast-path/egress.ts';
import { ingressProgram } from '../../../../src/companions/udp/fast-path/ingress.ts';
import { Table } from '../../../../src/companions/udp/forwarder/table.ts';
import { checksumOf, Memory } from '../../../../src/companions/udp/packets/checksum.ts';
import { Packet, UDP } from '../../../../src/companions/udp/packets/packet.ts';
import { type Ip, ipToBytes } from '../../../../src/ip/address.ts';
import type { Cidr } from '../../../../src/ip/cidr.ts';
import { BpfMap } from '../../../../src/linux/bpf/map.ts';
import { loadProgram } from '../../../../src/linux/bpf/program.ts';
import { withNetns } from '../../../../src/linux/netns.ts';
import { runProgram } from '../../../linux/bpf/run.ts';
import { kernelTest, sandbox } from '../../../linux/sandbox.ts';

const LOCAL = '192.0.2.1' as Ip;
const PEER = '192.0.2.2' as Ip;
const SUBNET = '10.2.0.0/16' as Cidr;
const PORT = 8285;
/** Of the underlay; the device's is smaller by the outer headers. */
const MTU = 1500;
const OUTER = 28;
const ETHERNET = 14;
const NEXT = -1;
const REDIRECT = 7;
const MORE_OR_LATER_FRAGMENT = 0x3fff;
/** Of a node that is no peer of the program's, inside of another's subnet. */
const FORWARDED = '10.2.7.0/24' as Cidr;
const TABLE = new Table({
  port: PORT,
  routes: [
    { subnet: SUBNET, node: PEER },
    { subnet: FORWARDED, node: LOCAL },
  ],
  senders: [],
});

/** Sums even bytes; the whole must be aligned to four. */
function sumOf(bytes: Buffer, from: number, to: number): number {
  const memory = new Memory(Buffer.from(new ArrayBuffer((bytes.length + 3) & ~3)));
  memory.bytes.set(bytes);
  return memory.sum(from, to);
}

function ipv4(source: Ip, destination: Ip, protocol: number, payload: Uint8Array, options = 0): Buffer {
  const header = 20 + options;
  const packet = Buffer.alloc(header + payload.length);
  packet[0] = 0x40 | (header / 4);
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = 64;
  packet[9] = protocol;
  packet.set(ipToBytes(source), 12);
  packet.set(ipToBytes(destination), 16);
  packet.fill(1, 20, header);
  packet.writeUInt16BE(checksumOf(sumOf(packet, 0, header)), 10);
  packet.set(payload, header);
  return packet;
}

function datagram(from: number, to: number, payload: Uint8Array, sum = 0): Buffer {
  const header = Buffer.alloc(8);
  for (const [i, half] of [from, to, 8 + payload.length, sum].entries()) header.writeUInt16BE(half, 2 * i);
  return Buffer.concat([header, payload]);
}

const frameOf = (packet: Uint8Array): Buffer =>
  Buffer.concat([Buffer.alloc(12), Buffer.from('0800', 'hex'), packet]);

const payloads = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.integer({ min: 1380, max: 1500 }).map((size) => new Uint8Array(size).fill(0x45)),
);
const inner = fc
  .record({
    destination: fc.constantFrom(
      '10.2.0.0',
      '10.2.255.255',
      '10.2.7.7',
      '10.3.0.1',
      '224.0.0.1',
      '192.0.2.2',
    ),
    protocol: fc.constantFrom(1, 6, 17, 47),
    options: fc.constantFrom(0, 0, 0, 4, 40),
    payload: payloads,
    ttl: fc.constantFrom(0, 1, 2, 64, 255),
    // Carries in the checksum's correction are rare otherwise.
    sum: fc.constantFrom(undefined, 0xff00, 0xfeff, 0xffff, 0),
  })
  .map(({ destination, protocol, options, payload, ttl, sum }) => {
    const packet = ipv4('10.1.0.9' as Ip, destination as Ip, protocol, payload, options);
    packet[8] = ttl;
    if (sum !== undefined) packet.writeUInt16BE(sum, 10);
    return packet;
  });

/** Damages at a few places of the headers, and of the length. */
const damages = fc.record({
  bytes: fc.array(fc.tuple(fc.integer({ min: 0, max: 61 }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 2,
  }),
  size: fc.constantFrom(0, 0, 0, 0, -1, 1, -30, 7),
});
type Damage = typeof damages extends fc.Arbitrary<infer T> ? T : never;

function damaged(packet: Buffer, { bytes, size }: Damage): Buffer {
  const copy = Buffer.alloc(Math.max(20, packet.length + size));
  packet.copy(copy);
  for (const [at, value] of bytes) if (at < copy.length) copy[at] = value;
  return copy;
}

/** Whether the forwarder would send it, as far as that is the kernel's business too, and what. */
function expectedToSend(bytes: Buffer): Buffer | undefined {
  const packet = new Packet();
  const copy = Buffer.from(bytes);
  if (!packet.read(copy, 0, copy.length) || packet.family !== 4 || packet.end !== copy.length) return;
  if (packet.ttl <= 1 || TABLE.lookup(copy, packet.destination, 4)?.node !== PEER) return;
  if (packet.length + OUTER > MTU) return;
  packet.decrementTtl();
  return copy;
}

/** What the forwarder would write to the device, if the datagram is one of another node's kernel. */
function expectedToReceive(bytes: Buffer): Buffer | undefined {
  const outer = new Packet();
  if (!outer.read(bytes, 0, bytes.length) || outer.family !== 4 || outer.end !== bytes.length) return;
  if (outer.payload !== 20 || outer.protocol !== UDP || sumOf(bytes, 0, 20) !== 0xffff) return;
  if ((bytes.readUInt16BE(6) & MORE_OR_LATER_FRAGMENT) !== 0 || bytes.length < OUTER) return;
  if (!bytes.subarray(12, 20).equals(Buffer.from([...ipToBytes(PEER), ...ipToBytes(LOCAL)]))) return;
  const [, to, length, sum] = [20, 22, 24, 26].map((at) => bytes.readUInt16BE(at));
  if (to !== PORT || sum !== 0 || length !== bytes.length - 20) return;
  const packet = new Packet();
  if (!packet.read(bytes, OUTER, bytes.length) || packet.family !== 4 || packet.end !== bytes.length) return;
  return packet.length > MTU - OUTER ? undefined : bytes.subarray(OUTER);
}

kernelTest('the kernel does with each packet what the forwarder would do, or leaves it alone', (t) => {
  const { netns, run, json } = sandbox(t);
  run('ip', 'link', 'add', 'below', 'mtu', `${MTU}`, 'type', 'veth', 'peer', 'name', 'device');
  run('ip', 'link', 'set', 'device', 'mtu', `${MTU - OUTER}`);
  run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  for (const dev of ['below', 'device']) run('ip', 'link', 'set', dev, 'up');
  run('ip', 'address', 'add', `${LOCAL}/24`, 'dev', 'below');
  const indexOf = (dev: string): number => Number(json('ip', '-j', 'link', 'show', 'dev', dev)[0]?.ifindex);
  const [underlay, device] = [indexOf('below'), indexOf('device')];
  using routes = new BpfMap({ type: 'lpm-trie', name: 'routes', keySize: 8, valueSize: 4, capacity: 8 });
  using senders = new BpfMap({ type: 'hash', name: 'senders', keySize: 4, valueSize: 1, capacity: 8 });
  using counter = new BpfMap({
    type: 'per-cpu array',
    name: 'counter',
    keySize: 4,
    valueSize: 8,
    capacity: 1,
  });
  routes.set(Buffer.from([16, 0, 0, 0, 10, 2, 0, 0]), ipToBytes(PEER));
  routes.set(Buffer.from([24, 0, 0, 0, 10, 2, 7, 0]), Buffer.alloc(4));
  senders.set(ipToBytes(PEER), Buffer.from([1]));
  const built = { local: LOCAL, port: PORT, counter };
  const egress = loadProgram('out', egressProgram({ ...built, underlay, routes, linkHeader: ETHERNET }));
  const ingress = loadProgram('in', ingressProgram({ ...built, device, senders }));
  t.after(() => [egress, ingress].forEach(closeSync));
  let [sent, received] = [0, 0];

  withNetns(netns, () => {
    fc.assert(
      fc.property(inner, damages, (packet, damage) => {
        const bytes = damaged(packet, damage);
        const { verdict, frame } = runProgram(egress, frameOf(bytes));
        const expected = expectedToSend(bytes);
        if (!expected) {
          assert.equal(verdict, NEXT);
          assert.deepEqual(frame, frameOf(bytes), 'untouched');
          return;
        }
        sent++;
        assert.equal(verdict, REDIRECT);
        const outer = frame.subarray(2 * ETHERNET);
        assert.deepEqual(outer.subarray(OUTER), expected);
        const wanted = ipv4(LOCAL, PEER, UDP, datagram(PORT, PORT, expected));
        // Each has an identification of its own.
        outer.copy(wanted, 4, 4, 6);
        outer.copy(wanted, 10, 10, 12);
        assert.equal(sumOf(outer, 0, 20), 0xffff);
        assert.deepEqual(outer, wanted);
      }),
      { numRuns: 4000 },
    );

    const datagrams = fc.tuple(
      inner,
      fc.constantFrom(PEER, PEER, PEER, '192.0.2.3' as Ip),
      fc.constantFrom(LOCAL, LOCAL, LOCAL, PEER),
      fc.constantFrom(PORT, PORT, PORT, 8472),
      fc.constantFrom(0, 0, 0, 1),
    );
    fc.assert(
      fc.property(datagrams, damages, fc.boolean(), ([packet, from, to, port, sum], damage, late) => {
        // The damage is to what is inside, or to all of it.
        const bytes = late
          ? damaged(ipv4(from, to, UDP, datagram(4242, port, packet, sum)), damage)
          : ipv4(from, to, UDP, datagram(4242, port, damaged(packet, { ...damage, size: 0 }), sum));
        const { verdict, frame } = runProgram(ingress, frameOf(bytes));
        const expected = expectedToReceive(bytes);
        if (expected) received++;
        assert.equal(verdict, expected ? REDIRECT : NEXT);
        assert.deepEqual(frame, frameOf(expected ?? bytes));
      }),
      { numRuns: 4000 },
    );

    const ordinary = frameOf(ipv4('10.1.0.9' as Ip, '10.2.0.9' as Ip, 1, Buffer.alloc(1000)));
    const way = (...command: string[]): number => {
      run('ip', ...command);
      return runProgram(egress, ordinary).verdict;
    };
    const others = [
      ['route', PEER, 'dev', 'device'],
      ['route', PEER, 'via', '192.0.2.9', 'dev', 'below', 'mtu', 'lock', '1000'],
      ['route', 'blackhole', PEER],
      ['rule', 'ipproto', 'udp', 'dport', `${PORT}`, 'prohibit'],
    ];
    for (const [what = '', ...words] of others) {
      assert.equal(way(what, 'add', ...words), NEXT, words.join(' '));
      assert.equal(way(what, 'delete', ...words), REDIRECT);
      sent++;
    }
    for (const via of [
      ['via', '192.0.2.9'],
      ['via', 'inet6', 'fe80::9'],
    ]) {
      assert.equal(way('route', 'replace', PEER, ...via, 'dev', 'below'), REDIRECT);
      sent++;
    }

    const good = frameOf(expectedDatagram());
    assert.equal(runProgram(ingress, good).verdict, REDIRECT);
    received++;
    const elsewhere = Buffer.from(good).fill(2, 0, 6);
    assert.equal(runProgram(ingress, elsewhere).verdict, NEXT, 'another machine’s');
    const tagged = Buffer.concat([good.subarray(0, 12), Buffer.from('81000005', 'hex'), good.subarray(12)]);
    assert.equal(runProgram(ingress, tagged).verdict, NEXT, 'another network’s');
  });
  assert.ok(sent > 200 && received > 200, `carried ${sent} and ${received}`);
  const values = counter.get(Buffer.alloc(4));
  let counted = 0;
  for (let at = 0; at < values.length; at += 8) counted += Number(values.readBigUInt64LE(at));
  assert.equal(counted, sent + received);
});

function expectedDatagram(): Buffer {
  const packet = ipv4('10.2.0.9' as Ip, '10.1.0.9' as Ip, 1, Buffer.alloc(64));
  return ipv4(PEER, LOCAL, UDP, datagram(PORT, PORT, packet));
}
