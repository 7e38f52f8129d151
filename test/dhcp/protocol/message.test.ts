import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LeaseRules, leaseOf } from '../../../src/dhcp/protocol/lease.ts';
import {
  addressesIn,
  addressIn,
  decode,
  encode,
  numberIn,
  OPTION,
  TYPE,
  typeOf,
} from '../../../src/dhcp/protocol/message.ts';
import { decodeDatagram, encodeDatagram } from '../../../src/dhcp/protocol/packet.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { parseMac } from '../../../src/ip/mac.ts';

const MAC = parseMac('02:00:00:00:00:07');
const RULES: LeaseRules = { network: parseCidr('10.0.0.0/8'), ownerOf: () => undefined };

/** A server's message: our own with what servers fill in. */
function reply(options: readonly (readonly [number, Uint8Array])[], your = '10.1.2.3'): Buffer {
  const bytes = encode({ xid: 7, mac: MAC, options });
  bytes[0] = 2;
  bytes.set(your.split('.').map(Number), 16);
  return bytes;
}

test('what is encoded is decoded', () => {
  const option = fc.tuple(
    fc.integer({ min: 1, max: 254 }).filter((code) => code !== OPTION.overload),
    fc.uint8Array({ maxLength: 255 }),
  );
  fc.assert(
    fc.property(
      fc.nat(0xffffffff),
      fc.uniqueArray(option, { selector: ([code]) => code, maxLength: 8 }),
      (xid, options) => {
        const message = decode(encode({ xid, mac: MAC, client: parseIp('10.9.8.7'), options }));
        assert.ok(message);
        assert.equal(message.xid, xid);
        assert.equal(message.mac, MAC);
        assert.equal(message.client, '10.9.8.7');
        assert.equal(message.isReply, false);
        for (const [code, value] of options)
          assert.deepEqual([...(message.options.get(code) ?? [])], [...value]);
      },
    ),
  );
});

test('an option in parts is one (RFC 3396), and names’ fields may hold options (RFC 2132 §9.3)', () => {
  const bytes = reply([
    [OPTION.dns, Buffer.from([10, 0])],
    [OPTION.dns, Buffer.from([0, 1])],
    [OPTION.overload, Buffer.of(3)],
  ]);
  bytes.set([OPTION.leaseTime, 4, 0, 0, 1, 0, OPTION.end], 108);
  bytes.set([OPTION.router, 4, 10, 0, 0, 9, OPTION.end], 44);
  const message = decode(bytes);
  assert.ok(message);
  assert.deepEqual(addressesIn(message, OPTION.dns), ['10.0.0.1']);
  assert.equal(numberIn(message, OPTION.leaseTime), 256);
  assert.equal(addressIn(message, OPTION.router), '10.0.0.9');
});

test('lengths beyond the message, other hardware and other cookies are refused', () => {
  const good = reply([[OPTION.type, Buffer.of(TYPE.ack)]]);
  assert.equal(typeOf(decode(good) ?? assert.fail()), TYPE.ack);
  const wrong = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(good);
    change(bytes);
    return bytes;
  };
  const cases = [
    good.subarray(0, 239),
    wrong((bytes) => bytes.set([1], 0)).subarray(0, 100),
    wrong((bytes) => bytes.set([9], 0)),
    wrong((bytes) => bytes.set([6], 1)),
    wrong((bytes) => bytes.set([16], 2)),
    wrong((bytes) => bytes.set([0], 236)),
    wrong((bytes) => bytes.set([OPTION.dns, 255], 243)),
  ];
  for (const [i, bytes] of cases.entries()) assert.equal(decode(bytes), undefined, `case ${i}`);
});

test('no bytes make the decoders throw, nor a lease of anything outside the network', () => {
  const base = reply([
    [OPTION.type, Buffer.of(TYPE.ack)],
    [OPTION.mask, Buffer.of(255, 255, 0, 0)],
    [OPTION.router, Buffer.of(10, 1, 0, 1)],
    [OPTION.server, Buffer.of(10, 1, 0, 1)],
    [OPTION.leaseTime, Buffer.of(0, 0, 14, 16)],
    [OPTION.domain, Buffer.from('lan.example')],
    [OPTION.dns, Buffer.of(10, 1, 0, 1)],
  ]);
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  let leases = 0;
  for (let run = 0; run < 200_000; run++) {
    const bytes = Buffer.from(base);
    for (let i = random(4); i >= 0; i--)
      bytes[random(4) === 0 ? random(bytes.length) : 240 + random(60)] = random(256);
    const message = decode(random(8) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes);
    if (!message || run % 8 !== 0) continue;
    const lease = leaseOf(message, 0, RULES);
    if (typeof lease === 'string') continue;
    leases++;
    assert.ok(lease.address.startsWith('10.'), lease.address);
    assert.ok(lease.renewAt < lease.rebindAt && lease.rebindAt < lease.endsAt && lease.endsAt <= 604_800_000);
  }
  assert.ok(leases > 5000, `${leases}`);
  const pool = randomBytes(1 << 20);
  for (let run = 0; run < 100_000; run++) {
    const start = random(pool.length - 400);
    const noise = pool.subarray(start, start + random(400));
    if (noise.length > 0) noise[0] = 0x40 + random(16);
    decodeDatagram(noise);
    decode(noise);
  }
});

test('a datagram is decoded as encoded, and fragments and others are not', () => {
  const datagram = {
    from: parseIp('0.0.0.0'),
    fromPort: 68,
    to: parseIp('255.255.255.255'),
    toPort: 67,
    payload: Buffer.from('odd'),
  };
  const packet = encodeDatagram(datagram);
  assert.deepEqual(decodeDatagram(packet), datagram);
  // Ethernet pads short frames.
  assert.deepEqual(decodeDatagram(Buffer.concat([packet, Buffer.alloc(9)])), datagram);
  for (const [at, value] of [
    [0, 0x65],
    [0, 0x4f],
    [2, 0xff],
    [6, 0x20],
    [9, 6],
    [24, 0xff],
    [25, 7],
  ] as const) {
    const other = Buffer.from(packet);
    other[at] = value;
    assert.equal(decodeDatagram(other), undefined, `byte ${at}`);
  }
});
