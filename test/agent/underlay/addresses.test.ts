import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reachableBy } from '../../../src/agent/underlay/addresses.ts';
import { parsePrefixed } from '../../../src/ip/cidr.ts';
import {
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_TEMPORARY,
  IFA_F_TENTATIVE,
} from '../../../src/linux/address.ts';
import { IFA_F_PERMANENT } from '../../linux/beyond.ts';

const address = (text: string, flags = IFA_F_PERMANENT) => ({ dev: 2, address: parsePrefixed(text), flags });

test('IPv4 addresses stay in the order of the kernel, secondary ones too; link-local ones reach no peer', () => {
  const listed = [
    address('169.254.7.7/16'),
    address('192.0.2.1/24'),
    address('192.0.2.9/24', IFA_F_TEMPORARY),
    address('fe80::1/64'),
  ];
  assert.deepEqual(reachableBy(listed), ['192.0.2.1/24', '192.0.2.9/24']);
});

test('a later IPv6 address, which the kernel lists first, does not replace the first', () => {
  assert.deepEqual(
    reachableBy([address('2001:db8::99/128'), address('2001:db8::1/64')])[0],
    '2001:db8::1/64',
  );
});

test('permanent IPv6 addresses come first, and a duplicate address is not used', () => {
  const listed = [
    address('2001:db8::5/64', IFA_F_DADFAILED | IFA_F_TENTATIVE),
    address('2001:db8::1/64'),
    address('2001:db8::2/64', IFA_F_TEMPORARY),
    address('2001:db8::3/64', IFA_F_DEPRECATED),
    address('2001:db8::4/64', IFA_F_TENTATIVE),
  ];
  const best = ['2001:db8::1/64', '2001:db8::2/64', '2001:db8::3/64', '2001:db8::4/64'];
  assert.deepEqual(reachableBy(listed), best);
  assert.deepEqual(reachableBy(listed.reverse()), best);
});
