import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LeaseRules, leaseOf, nextTry, phaseOf } from '../../../src/dhcp/protocol/lease.ts';
import { type Message, numberOption, OPTION } from '../../../src/dhcp/protocol/message.ts';
import { type Ip, ipToBytes, parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { parseMac } from '../../../src/ip/mac.ts';

const RULES: LeaseRules = {
  network: parseCidr('192.168.0.0/16'),
  ownerOf: (ip) => (ip === '192.168.7.10' ? 'an address of this node' : undefined),
};
const ip = (text: string): Uint8Array => ipToBytes(parseIp(text));
const OFFER = {
  [OPTION.mask]: ip('255.255.255.0'),
  [OPTION.router]: ip('192.168.7.1'),
  [OPTION.dns]: Buffer.concat([ip('192.168.7.2'), ip('127.0.0.1'), ip('192.168.7.3')]),
  [OPTION.domain]: Buffer.from('lan.example\0'),
  [OPTION.server]: ip('192.168.7.1'),
  [OPTION.leaseTime]: numberOption(3600, 4),
};

function offer(your: string, changes: Readonly<Record<number, Uint8Array | undefined>> = {}): Message {
  const entries = Object.entries({ ...OFFER, ...changes }).flatMap(([code, value]) =>
    value ? [[Number(code), value] as const] : [],
  );
  return {
    isReply: true,
    xid: 1,
    client: parseIp('0.0.0.0'),
    your: your as Ip,
    mac: parseMac('02:00:00:00:00:01'),
    options: new Map(entries),
  };
}

test('an offer is read, and servers that cannot be are left out', () => {
  assert.deepEqual(leaseOf(offer('192.168.7.20'), 1000, RULES), {
    address: '192.168.7.20/24',
    gateway: '192.168.7.1',
    dns: ['192.168.7.2', '192.168.7.3'],
    domain: 'lan.example',
    server: '192.168.7.1',
    renewAt: 1000 + 1_800_000,
    rebindAt: 1000 + 3_150_000,
    endsAt: 1000 + 3_600_000,
  });
});

const REFUSED: readonly (readonly [what: string, offer: Message, why: RegExp])[] = [
  ['no address', offer('0.0.0.0'), /0\.0\.0\.0 is unspecified/],
  ['loopback', offer('127.0.0.1'), /loopback/],
  ['a group', offer('224.0.0.1'), /multicast/],
  ['an address elsewhere', offer('10.0.0.5'), /outside the network, 192\.168\.0\.0\/16/],
  ['the network itself', offer('192.168.7.0'), /no host’s address/],
  ['everybody', offer('192.168.7.255'), /no host’s address/],
  ['the node’s address', offer('192.168.7.10'), /is an address of this node/],
  ['a mask with holes', offer('192.168.7.20', { [OPTION.mask]: ip('255.0.255.0') }), /mask/],
  ['a mask of half a byte', offer('192.168.7.20', { [OPTION.mask]: Buffer.of(255, 255) }), /mask/],
  ['a mask for the world', offer('192.168.7.20', { [OPTION.mask]: ip('128.0.0.0') }), /mask of 1 bits/],
  ['a mask for one', offer('192.168.7.20', { [OPTION.mask]: ip('255.255.255.255') }), /mask of 32 bits/],
  ['no server', offer('192.168.7.20', { [OPTION.server]: undefined }), /names no server/],
  ['no time', offer('192.168.7.20', { [OPTION.leaseTime]: undefined }), /for no seconds/],
  ['no time to speak of', offer('192.168.7.20', { [OPTION.leaseTime]: numberOption(5, 4) }), /for 5 seconds/],
];

for (const [what, message, why] of REFUSED) {
  test(`refused: ${what}`, () => {
    const lease = leaseOf(message, 0, RULES);
    assert.ok(typeof lease === 'string', JSON.stringify(lease));
    assert.match(lease, why);
  });
}

test('absurd times are bounded, and an absurd gateway or domain is none', () => {
  const lease = leaseOf(
    offer('192.168.7.20', {
      [OPTION.leaseTime]: numberOption(0xffffffff, 4),
      [OPTION.renewalTime]: numberOption(0, 4),
      [OPTION.rebindingTime]: numberOption(0xffffffff, 4),
      [OPTION.router]: ip('10.0.0.1'),
      [OPTION.domain]: Buffer.from('a\nnameserver 6.6.6.6'),
    }),
    0,
    RULES,
  );
  assert.ok(typeof lease !== 'string');
  const week = 7 * 24 * 3600 * 1000;
  assert.deepEqual([lease.renewAt, lease.rebindAt, lease.endsAt], [week / 2, (week * 7) / 8, week]);
  assert.equal(lease.gateway, undefined);
  assert.equal(lease.domain, undefined);
  const hasty = leaseOf(offer('192.168.7.20', { [OPTION.renewalTime]: numberOption(0, 4) }), 0, RULES);
  assert.equal(typeof hasty === 'string' ? hasty : hasty.renewAt, 3000);
});

test('the server is asked in good time, and never in a hurry', () => {
  const lease = leaseOf(offer('192.168.7.20'), 0, RULES);
  assert.ok(typeof lease !== 'string');
  const phases = [0, 1_800_000, 3_150_000, 3_600_000].map((now) => phaseOf(lease, now));
  assert.deepEqual(phases, ['bound', 'renewing', 'rebinding', 'over']);
  for (let now = lease.renewAt, tries = 0; now < lease.endsAt; tries++) {
    const next = nextTry(lease, now);
    assert.ok(next > now, `${now}`);
    // The end of a phase comes as it comes.
    assert.ok(next - now >= 60_000 || next === lease.rebindAt || next === lease.endsAt, `${now} ${next}`);
    assert.ok(tries < 40);
    now = next;
  }
  assert.equal(nextTry(lease, lease.endsAt), lease.endsAt + 60_000);
});
