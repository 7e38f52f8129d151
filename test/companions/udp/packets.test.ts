import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Memory } from '../../../src/companions/udp/packets/checksum.ts';
import { icmpError } from '../../../src/companions/udp/packets/icmp-error.ts';
import { Joiner } from '../../../src/companions/udp/packets/joiner.ts';
import { Packet } from '../../../src/companions/udp/packets/packet.ts';
import { type Segments, writeSegments } from '../../../src/companions/udp/packets/segments.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  NEEDS_CSUM,
  readVnetHeader,
  VNET_HEADER,
} from '../../../src/companions/udp/packets/vnet-header.ts';
import { type Family, parseIp } from '../../../src/ip/address.ts';

/** The checksum as RFC 1071 has it, byte by byte. */
function slowSum(bytes: Uint8Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += (bytes[i] ?? 0) * ((i - from) % 2 === 0 ? 256 : 1);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** Of the pseudo-header, as it stands in the field of a packet that the kernel left to the device. */
function slowPseudo(packet: Buffer, family: Family, protocol: number, length: number): number {
  const addresses = family === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail.writeUInt32BE(protocol, 4);
  const all = Buffer.concat([addresses, tail]);
  return slowSum(all, 0, all.length);
}

type Shape = { family: Family; options: number; payload: Buffer; sequence: number; flags: number };

const HEADERS: Record<Family, number> = { 4: 20, 6: 40 };

/** A TCP packet as the kernel hands it to a device that segments: only the pseudo-header is summed. */
function tcpPacket({ family, options, payload, sequence, flags }: Shape): {
  packet: Buffer;
  transport: number;
} {
  const transport = HEADERS[family];
  const header = transport + 20 + options;
  const packet = Buffer.alloc(header + payload.length);
  ipHeader(packet, family, 6);
  packet.writeUInt16BE(40000, transport);
  packet.writeUInt16BE(80, transport + 2);
  packet.writeUInt32BE(sequence, transport + 4);
  packet.writeUInt32BE(77, transport + 8);
  packet[transport + 12] = ((20 + options) / 4) << 4;
  packet[transport + 13] = flags;
  packet.writeUInt16BE(512, transport + 14);
  packet.fill(1, transport + 20, header);
  payload.copy(packet, header);
  packet.writeUInt16BE(slowPseudo(packet, family, 6, packet.length - transport), transport + 16);
  return { packet, transport };
}

function ipHeader(packet: Buffer, family: Family, protocol: number): void {
  if (family === 4) {
    packet[0] = 0x45;
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE(0xfffe, 4);
    packet.writeUInt16BE(0x4000, 6);
    packet[8] = 64;
    packet[9] = protocol;
    packet.set([10, 1, 0, 2, 10, 2, 0, 3], 12);
    packet.writeUInt16BE(0xffff - slowSum(packet, 0, 20), 10);
    return;
  }
  packet[0] = 0x60;
  packet.writeUInt16BE(packet.length - 40, 4);
  packet[6] = protocol;
  packet[7] = 64;
  packet.set([0xfd, 0x10, 0, 1], 8);
  packet.set([0xfd, 0x10, 0, 2], 24);
  packet[23] = 2;
  packet[39] = 3;
}

/** Memory that holds a packet at an offset. */
function placed(packet: Buffer, at = 12): Memory {
  const memory = new Memory(Buffer.alloc((at + packet.length + 7) & ~3));
  packet.copy(memory.bytes, at);
  return memory;
}

function read(memory: Memory, at: number, length: number): Packet {
  const packet = new Packet();
  assert.ok(packet.read(memory.bytes, at, at + length));
  return packet;
}

function cut(packet: Buffer, header: Parameters<typeof writeSegments>[2]): Buffer[] | undefined {
  const from = placed(packet);
  const to = new Memory(Buffer.alloc(256 * 1024));
  const segments: Segments = { count: 0, size: 0, lastSize: 0 };
  if (!writeSegments(read(from, 12, packet.length), from, header, to, segments)) return undefined;
  return Array.from({ length: segments.count }, (_, i) => {
    const at = i * segments.size;
    return Buffer.from(
      to.bytes.subarray(at, at + (i === segments.count - 1 ? segments.lastSize : segments.size)),
    );
  });
}

function assertValid(segment: Buffer, family: Family, protocol: number): void {
  if (family === 4) {
    assert.equal(slowSum(segment, 0, 20), 0xffff, 'the IPv4 header’s checksum');
    assert.equal(segment.readUInt16BE(2), segment.length);
  } else assert.equal(segment.readUInt16BE(4), segment.length - 40);
  const transport = HEADERS[family];
  const whole = segment.subarray(transport);
  const pseudo = slowPseudo(segment, family, protocol, whole.length);
  const tail = Buffer.alloc(2);
  tail.writeUInt16BE(pseudo);
  const padded = Buffer.concat([whole, Buffer.alloc(whole.length % 2), tail]);
  assert.equal(slowSum(padded, 0, padded.length), 0xffff, 'the checksum of the transport');
}

const families = fc.constantFrom<Family>(4, 6);
const shapes = fc.record({
  family: families,
  options: fc.constantFrom(0, 12, 20),
  payload: fc.uint8Array({ minLength: 1, maxLength: 6000 }).map((bytes) => Buffer.from(bytes)),
  sequence: fc.integer({ min: 0, max: 0xffffffff }),
  flags: fc.constantFrom(0x10, 0x18, 0x19, 0x90),
});

test('sums are those of RFC 1071, wherever they begin and end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), fc.nat(40), (bytes, from, less) => {
      const memory = placed(Buffer.from(bytes), 0);
      const [begin, end] = [
        Math.min(from, bytes.length),
        Math.max(Math.min(from, bytes.length), bytes.length - less),
      ];
      assert.equal(memory.sum(begin, end) % 0xffff, slowSum(bytes, begin, end) % 0xffff);
    }),
  );
});

test('a packet is cut as a network card would cut it, and joined again to what it was', () => {
  fc.assert(
    fc.property(shapes, fc.integer({ min: 1, max: 1500 }), (shape, gsoSize) => {
      const { packet, transport } = tcpPacket(shape);
      const gsoType = shape.family === 4 ? GSO_TCPV4 : GSO_TCPV6;
      const header = { flags: NEEDS_CSUM, gsoType, gsoSize, csumStart: transport, csumOffset: 16 };
      const segments = cut(packet, header);
      assert.ok(segments);
      const head = transport + 20 + shape.options;
      assert.deepEqual(Buffer.concat(segments.map((each) => each.subarray(head))), shape.payload);
      for (const [i, segment] of segments.entries()) {
        assertValid(segment, shape.family, 6);
        assert.ok(segment.length <= head + gsoSize);
        assert.equal(segment.readUInt32BE(transport + 4), (shape.sequence + i * gsoSize) % 0x100000000);
        const isLast: boolean = i === segments.length - 1;
        const expected: number = shape.flags & (isLast ? 0xff : ~0x09) & (i === 0 ? 0xff : ~0x80);
        assert.equal(segment[transport + 13], expected);
      }
      const joined = join(segments);
      const whole = Buffer.concat(joined.map((each) => each.subarray(VNET_HEADER + head)));
      assert.deepEqual(whole, shape.payload);
      const [first] = joined;
      if ((shape.flags & ~0x08) !== 0x10) return;
      assert.equal(joined.length, 1, 'data with nothing but ACK and PSH is joined');
      assert.ok(first);
      const again = { flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
      readVnetHeader(first, 0, again);
      if (segments.length === 1) assert.equal(again.gsoType, GSO_NONE);
      else assert.deepEqual(again, { ...header, gsoSize: Math.min(gsoSize, shape.payload.length) });
    }),
  );
});

function join(segments: readonly Buffer[], flush = true): Buffer[] {
  const written: Buffer[] = [];
  const joiner = new Joiner((bytes, from, to) => written.push(Buffer.from(bytes.subarray(from, to))));
  for (const segment of segments) {
    const memory = placed(segment, 0);
    joiner.add(read(memory, 0, segment.length), memory);
  }
  if (flush) joiner.flush();
  return written;
}

test('what does not belong together is not joined, nor is anything damaged', () => {
  const shape = { family: 4, options: 12, payload: Buffer.alloc(3000, 7), sequence: 5, flags: 0x10 } as const;
  const { packet, transport } = tcpPacket(shape);
  const segments = cut(packet, {
    flags: NEEDS_CSUM,
    gsoType: GSO_TCPV4,
    gsoSize: 1000,
    csumStart: transport,
    csumOffset: 16,
  });
  assert.ok(segments);
  const [a, b, c] = segments as [Buffer, Buffer, Buffer];
  assert.equal(join([a, b, c]).length, 1);
  assert.equal(join([a, c, b]).length, 3, 'out of order');
  assert.equal(join([a, a]).length, 2, 'twice');
  for (const place of [8, 15, transport, transport + 9, transport + 15, transport + 21, 200]) {
    const other = Buffer.from(b);
    other[place] = (other[place] ?? 0) ^ 1;
    const written = join([a, other, c]);
    assert.equal(written.length, 3, `byte ${place}`);
    assert.deepEqual(written[1]?.subarray(VNET_HEADER), other, 'passes unchanged');
  }
});

test('UDP is cut into datagrams, and a lone packet gets its checksum', () => {
  fc.assert(
    fc.property(
      families,
      fc.uint8Array({ minLength: 1, maxLength: 4000 }),
      fc.integer({ min: 1, max: 1400 }),
      fc.boolean(),
      (family, bytes, gsoSize, isLarge) => {
        const transport = HEADERS[family];
        const packet = Buffer.alloc(transport + 8 + bytes.length);
        ipHeader(packet, family, 17);
        packet.writeUInt16BE(8 + bytes.length, transport + 4);
        packet.set(bytes, transport + 8);
        packet.writeUInt16BE(slowPseudo(packet, family, 17, 8 + bytes.length), transport + 6);
        const gsoType = isLarge ? GSO_UDP_L4 : GSO_NONE;
        const segments = cut(packet, {
          flags: NEEDS_CSUM,
          gsoType,
          gsoSize,
          csumStart: transport,
          csumOffset: 6,
        });
        assert.ok(segments);
        for (const segment of segments) {
          assertValid(segment, family, 17);
          assert.equal(segment.readUInt16BE(transport + 4), segment.length - transport);
        }
        assert.deepEqual(
          Buffer.concat(segments.map((each) => each.subarray(transport + 8))),
          Buffer.from(bytes),
        );
      },
    ),
  );
});

test('the time to live is taken down with the checksum', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 255 }), fc.nat(0xffff), (ttl, id) => {
      const bytes = Buffer.alloc(20);
      ipHeader(bytes, 4, 6);
      bytes[8] = ttl;
      bytes.writeUInt16BE(id, 4);
      bytes.writeUInt16BE(0, 10);
      bytes.writeUInt16BE(0xffff - slowSum(bytes, 0, 20), 10);
      const packet = read(placed(bytes), 12, 20);
      packet.decrementTtl();
      assert.equal(packet.ttl, ttl - 1);
      assert.equal(slowSum(packet.bytes, 12, 32), 0xffff);
    }),
  );
});

test('errors quote the packet, to its sender, with right checksums', () => {
  for (const family of [4, 6] as const) {
    const { packet } = tcpPacket({
      family,
      options: 0,
      payload: Buffer.alloc(1400, 3),
      sequence: 1,
      flags: 0x10,
    });
    const own = parseIp(family === 4 ? '10.1.0.0' : 'fd10:1::');
    const message = icmpError(read(placed(packet), 12, packet.length), 'no route', own);
    const header = HEADERS[family];
    assert.equal(message.length, family === 4 ? 576 : 1280);
    assert.deepEqual([message[header], message[header + 1]], family === 4 ? [3, 0] : [1, 0]);
    const sender = family === 4 ? packet.subarray(12, 16) : packet.subarray(8, 24);
    assert.deepEqual(family === 4 ? message.subarray(16, 20) : message.subarray(24, 40), sender);
    assert.ok(packet.subarray(0, 500).equals(message.subarray(header + 8, header + 508)));
    if (family === 4) assert.equal(slowSum(message, 20, message.length), 0xffff);
    else assertValid(message, 6, 58);
  }
});

test('no bytes at all upset the readers: millions of random and damaged packets', () => {
  const packet = new Packet();
  const to = new Memory(Buffer.alloc(128 * 1024));
  const segments: Segments = { count: 0, size: 0, lastSize: 0 };
  const joiner = new Joiner(() => {});
  const base = [4, 6].map(
    (family) =>
      tcpPacket({
        family: family as Family,
        options: 12,
        payload: Buffer.alloc(300, 9),
        sequence: 1,
        flags: 0x10,
      }).packet,
  );
  let random = 12345;
  const next = (below: number): number => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % below;
  };
  const memory = new Memory(Buffer.alloc(512));
  for (let run = 0; run < 1_000_000; run++) {
    const { bytes } = memory;
    base[run % 2]?.copy(bytes, 0);
    for (let change = next(6); change > 0; change--) bytes[next(80)] = next(256);
    const length = next(8) === 0 ? next(400) : 352;
    if (!packet.read(bytes, 0, length)) continue;
    assert.ok(packet.end <= length && packet.payload <= packet.end);
    joiner.add(packet, memory);
    const header = {
      flags: next(2),
      gsoType: [0, 1, 4, 5, 3][next(5)] ?? 0,
      gsoSize: next(1500),
      csumStart: next(80),
      csumOffset: next(40),
    };
    if (!writeSegments(packet, memory, header, to, segments)) continue;
    assert.ok((segments.count - 1) * segments.size + segments.lastSize <= to.bytes.length);
  }
});
