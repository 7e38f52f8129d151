import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import {
  inRange,
  rangeFor,
  rangeOf,
  rangeSetText,
  readRangeSets,
  roundRobin,
} from '../../src/ipam/ranges.ts';

const sets = (...ranges: unknown[]) =>
  readRangeSets({ cniVersion: '1.0.0', ipam: { type: 'host-local', ranges } });

describe('rangeOf', () => {
  it("has host-local's defaults", () => {
    assert.deepEqual(rangeOf(parseCidr('10.22.0.0/16')), {
      subnet: '10.22.0.0/16',
      start: '10.22.0.1',
      end: '10.22.255.254',
      gateway: '10.22.0.1',
    });
    assert.equal(rangeOf(parseCidr('fd00::/64')).end, 'fd00::ffff:ffff:ffff:ffff');
  });
});

describe('readRangeSets', () => {
  it('is empty for a configuration without ranges', () => {
    for (const conf of [{}, { ipam: {} }, { ipam: { type: 'host-local', ranges: [] }, runtimeConfig: {} }]) {
      assert.deepEqual(readRangeSets(conf), []);
    }
  });

  it('takes ipRanges first, then the legacy form, then ranges', () => {
    const read = readRangeSets({
      cniVersion: '1.0.0',
      ipam: {
        subnet: '10.1.0.0/24',
        rangeStart: '10.1.0.10',
        rangeEnd: '10.1.0.20',
        gateway: '10.1.0.254',
        ranges: [[{ subnet: 'fd00::/64' }]],
      },
      runtimeConfig: { ipRanges: [[{ subnet: '10.2.0.0/24' }, { subnet: '10.3.0.0/24' }]] },
    });
    assert.deepEqual(read.map(rangeSetText), [
      '10.2.0.1-10.2.0.254,10.3.0.1-10.3.0.254',
      '10.1.0.10-10.1.0.20',
      'fd00::1-fd00::ffff:ffff:ffff:ffff',
    ]);
    assert.equal(read[1]?.[0].gateway, '10.1.0.254');
  });

  it('accepts IPv4-mapped IPv6 addresses', () => {
    const [set] = sets([{ subnet: '10.1.0.0/24', rangeStart: '::ffff:10.1.0.9' }]);
    assert.equal(set?.[0].start, '10.1.0.9');
  });

  const cases: [string, unknown[], RegExp][] = [
    ['no ranges in a set', [[]], /^invalid range set 0: empty range set/],
    [
      'a subnet of two addresses',
      [[{ subnet: '10.1.0.0/31' }]],
      /set 0: Network 10\.1\.0\.0\/31 too small to allocate from/,
    ],
    [
      'host bits',
      [[{ subnet: '10.1.0.7/24' }]],
      /Network has host bits set\. For a subnet mask of length 24 the network address is 10\.1\.0\.0/,
    ],
    [
      'a start outside',
      [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.1.0' }]],
      /RangeStart 10\.1\.1\.0 not in network 10\.1\.0\.0\/24/,
    ],
    [
      'an end outside',
      [[{ subnet: '10.1.0.0/24', rangeEnd: '10.1.1.0' }]],
      /RangeEnd 10\.1\.1\.0 not in network 10\.1\.0\.0\/24/,
    ],
    [
      'an end before the start',
      [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' }]],
      /RangeStart 10\.1\.0\.9 not in network/,
    ],
    [
      'both families in a set',
      [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]],
      /mixed address families/,
    ],
    [
      'overlap inside a set',
      [[{ subnet: '10.1.0.0/24' }, { subnet: '10.1.0.0/16' }]],
      /subnets 10\.1\.0\.1-10\.1\.0\.254 and 10\.1\.0\.1-10\.1\.255\.254 overlap/,
    ],
    [
      'overlapping sets',
      [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }], [{ subnet: '10.0.0.0/8' }]],
      /range set 0 overlaps with 2/,
    ],
    ['a malformed subnet', [[{ subnet: '10.1.0.0' }]], /range\.subnet: '10\.1\.0\.0' is not a network/],
    ['no subnet', [[{ gateway: '10.1.0.1' }]], /range\.subnet: is missing/],
    [
      'a malformed gateway',
      [[{ subnet: '10.1.0.0/24', gateway: 'x' }]],
      /range\.gateway: 'x' is not an IP address/,
    ],
    ['a set that is not a list', [{ subnet: '10.1.0.0/24' }], /range set 0: must be a list of ranges/],
  ];
  for (const [what, ranges, message] of cases) {
    it(`refuses ${what}`, () => assert.throws(() => sets(...ranges), { code: 'CONFIG_INVALID', message }));
  }

  it('allows one address per family in a CNI 0.2.0 configuration, and more in later ones', () => {
    const conf = (cniVersion?: string) => ({
      ...(cniVersion && { cniVersion }),
      ipam: { ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]] },
    });
    assert.equal(readRangeSets(conf('0.3.0')).length, 2);
    assert.throws(
      () => readRangeSets(conf('0.2.0')),
      /CNI version 0\.2\.0 does not support more than 1 address per family/,
    );
    assert.throws(() => readRangeSets(conf()), /CNI version 0\.1\.0 does not support/);
  });
});

describe('roundRobin', () => {
  const [set] = sets([
    { subnet: '10.1.0.0/28', rangeStart: '10.1.0.4', rangeEnd: '10.1.0.7', gateway: '10.1.0.5' },
    { subnet: '10.1.1.0/30' },
    { subnet: '10.1.2.0/29', rangeEnd: '10.1.2.3' },
  ]);
  assert.ok(set);
  const all = ['10.1.0.4', '10.1.0.6', '10.1.0.7', '10.1.1.2', '10.1.2.2', '10.1.2.3'];

  it('starts from the beginning, skipping gateways', () => {
    assert.deepEqual([...roundRobin(set, undefined)], all);
    assert.deepEqual([...roundRobin(set, parseIp('10.9.9.9'))], all);
    assert.deepEqual([...roundRobin(set, parseIp('fd00::1'))], all);
  });

  it('starts after the last address and ends with it', () => {
    fc.assert(
      fc.property(fc.constantFrom(...all), (last) => {
        const at = all.indexOf(last) + 1;
        assert.deepEqual([...roundRobin(set, parseIp(last))], [...all.slice(at), ...all.slice(0, at)]);
      }),
    );
    assert.equal([...roundRobin(set, '10.1.0.5' as Ip)][0], '10.1.0.6', 'the last may be a gateway now');
  });

  it('finds the range of an address', () => {
    assert.equal(rangeFor(set, parseIp('10.1.1.2'))?.subnet, '10.1.1.0/30');
    assert.equal(rangeFor(set, parseIp('10.1.0.3')), undefined);
    assert.equal(inRange(set[0], parseIp('::a01:4')), false);
  });
});
