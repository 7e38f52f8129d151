import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { claims, decodeArp, encodeProbe } from '../../../src/dhcp/protocol/arp.ts';
import { parseIp } from '../../../src/ip/address.ts';
import { parseMac } from '../../../src/ip/mac.ts';

const MAC = parseMac('02:00:00:00:00:07');
const [ip, other, nobody] = ['192.0.2.7', '192.0.2.8', '0.0.0.0'].map(parseIp) as [never, never, never];

test('a probe claims nothing, and is read as what it is', () => {
  const probe = encodeProbe(MAC, ip);
  assert.equal(probe.toString('hex'), '000108000604000102000000000700000000000000000000c0000207');
  assert.deepEqual(decodeArp(probe), { mac: MAC, sender: nobody, target: ip });
});

test('who has an address, or probes for it, claims it; who asks for it has another', () => {
  assert.ok(claims({ mac: MAC, sender: ip, target: other }, ip));
  assert.ok(claims({ mac: MAC, sender: nobody, target: ip }, ip));
  assert.ok(!claims({ mac: MAC, sender: other, target: ip }, ip));
  assert.ok(!claims({ mac: MAC, sender: nobody, target: other }, ip));
});

test('anything else is no ARP for IPv4', () => {
  const probe = encodeProbe(MAC, ip);
  for (const at of [1, 2, 4, 5]) {
    const wrong = Buffer.from(probe);
    wrong[at] = 99;
    assert.equal(decodeArp(wrong), undefined);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 27 }), (bytes) => !decodeArp(Buffer.from(bytes))));
});
