import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { networkToNetConf, readNetwork, refuseOverlap } from '../../src/cluster/network.ts';
import { ANSWERS } from '../../src/cluster/policy-options.ts';
import { BITS, type Family, familyOf, ipToBigInt } from '../../src/ip/address.ts';
import { contains, lastIp, nthIp, parseCidr, sizeOf } from '../../src/ip/cidr.ts';
import { cidrs } from '../ip/arbitraries.ts';
import { networks } from './arbitraries.ts';

const V4 = { Network: '10.244.0.0/16' };
const BLOCKS = { ...V4, addresses: 'blocks', wiring: 'Routed', Backend: { Type: 'bgp' } };

describe('readNetwork', () => {
  it("reads flannel's own example, with its defaults", () => {
    assert.deepEqual(readNetwork({ ...V4, Backend: { Type: 'vxlan' } }), {
      pools: {
        4: { cidr: '10.244.0.0/16', subnetLength: 24, subnetMin: '10.244.1.0', subnetMax: '10.244.255.0' },
      },
      addresses: 'lease',
      wiring: 'bridge',
      backend: { type: 'vxlan', options: {} },
      masquerade: { enabled: true, randomFully: true, exclude: [] },
      guard: true,
      allowedSources: [],
      reservedHostPorts: [],
    });
  });

  it('matches keys without case, ignores unknown ones, masks host bits, treats null as absent', () => {
    const written = {
      NETWORK: '10.244.3.9/16',
      subnetlen: 26,
      SUBNETMIN: null,
      subnetMax: '10.244.9.64',
      EnableNFTables: true,
      nonsense: [1],
      backend: { type: 'Host-GW', Foo: 1, foo2: { a: 1 } },
    };
    const { pools, backend } = readNetwork(written);
    assert.deepEqual(pools[4], {
      cidr: '10.244.0.0/16',
      subnetLength: 26,
      subnetMin: '10.244.0.64',
      subnetMax: '10.244.9.64',
    });
    assert.deepEqual(backend, { type: 'host-gw', options: { Foo: 1, foo2: { a: 1 } } });
  });

  it('defaults to vxlan without a backend, or without its type', () => {
    for (const Backend of [undefined, null, {}, { Type: '' }, { VNI: 7 }]) {
      assert.equal(readNetwork({ ...V4, Backend }).backend.type, 'vxlan');
    }
  });

  it('cuts blocks of the default sizes, or smaller so that four fit', () => {
    const blocks = readNetwork({ ...BLOCKS, EnableIPv6: true, IPv6Network: 'fd00::/64' });
    assert.deepEqual([blocks.addresses, blocks.wiring], ['blocks', 'routed']);
    assert.deepEqual([blocks.pools[4]?.subnetLength, blocks.pools[6]?.subnetLength], [26, 122]);
    assert.equal(readNetwork({ ...BLOCKS, Network: '10.0.0.0/25' }).pools[4]?.subnetLength, 27);
    assert.equal(readNetwork({ ...BLOCKS, SubnetLen: 24 }).pools[4]?.subnetLength, 24);
  });

  it('takes routed pods with any backend', () => {
    for (const Type of ['vxlan', 'host-gw', 'bgp']) {
      const { addresses, wiring } = readNetwork({ ...V4, wiring: 'routed', Backend: { Type } });
      assert.deepEqual([addresses, wiring], ['lease', 'routed']);
    }
  });

  it('ignores the fields of a disabled family, as k3s writes them', () => {
    const four = readNetwork({ ...V4, EnableIPv4: true, EnableIPv6: false, IPv6Network: '::/0' });
    assert.deepEqual(Object.keys(four.pools), ['4']);
    const six = readNetwork({
      Network: '0.0.0.0/0',
      EnableIPv4: false,
      EnableIPv6: true,
      IPv6Network: 'fd00::/56',
    });
    assert.deepEqual(six.pools, {
      6: { cidr: 'fd00::/56', subnetLength: 64, subnetMin: 'fd00:0:0:1::', subnetMax: 'fd00:0:0:ff::' },
    });
  });

  it('uses the default subnet length of the family and network', () => {
    const length = (family: Family, cidr: string): number | undefined =>
      readNetwork(
        family === 4 ? { Network: cidr } : { EnableIPv4: false, EnableIPv6: true, IPv6Network: cidr },
      ).pools[family]?.subnetLength;
    assert.deepEqual(
      [8, 16, 22, 23, 26, 28].map((n) => length(4, `10.0.0.0/${n}`)),
      [24, 24, 24, 25, 28, 30],
    );
    assert.deepEqual(
      [48, 62, 63, 112, 124].map((n) => length(6, `fd00::/${n}`)),
      [64, 64, 65, 114, 126],
    );
  });

  it('returns a pool within its network, on subnet boundaries', () => {
    const any = fc.constantFrom<Family>(4, 6).chain((family) => cidrs(family, 1, family === 4 ? 28 : 124));
    fc.assert(
      fc.property(any, (cidr) => {
        const family = familyOf(cidr);
        const conf =
          family === 4 ? { Network: cidr } : { EnableIPv4: false, EnableIPv6: true, IPv6Network: cidr };
        const pool = readNetwork(conf).pools[family];
        assert.ok(pool);
        const size = 1n << BigInt(BITS[family] - pool.subnetLength);
        assert.equal(pool.subnetMin, nthIp(cidr, size));
        assert.ok(contains(cidr, pool.subnetMax));
        assert.equal(ipToBigInt(pool.subnetMax) + size - 1n, ipToBigInt(lastIp(cidr)));
        assert.ok(sizeOf(cidr) / size >= 4n);
      }),
    );
  });
});

describe('readNetwork refuses', () => {
  const six = { EnableIPv4: false, EnableIPv6: true };
  const cases: [string, unknown, string, RegExp][] = [
    ['a list', [], 'configuration', /must be an object, not a list/],
    ['nothing', null, 'configuration', /must be an object, not null/],
    ['no network', {}, 'Network', /please define a correct Network parameter .* like 10\.244\.0\.0\/16/],
    ['no IPv6 network', six, 'IPv6Network', /please define a correct IPv6Network parameter/],
    ['both families off', { EnableIPv4: false }, 'EnableIPv4', /no family is enabled; set EnableIPv4 or/],
    [
      'a malformed network',
      { Network: '10.244.0.0/' },
      'Network',
      /'10\.244\.0\.0\/' is not a network; write/,
    ],
    [
      'a malformed network of a disabled family',
      { ...V4, IPv6Network: 'x' },
      'IPv6Network',
      /'x' is not a network/,
    ],
    [
      'a network of the other family',
      { Network: 'fd00::/56' },
      'Network',
      /'fd00::\/56' is IPv6; IPv4 belongs here/,
    ],
    [
      "k3s's placeholder in a family that is on",
      { Network: '0.0.0.0/0' },
      'Network',
      /is the whole address space/,
    ],
    ['a network that is not text', { Network: 10 }, 'Network', /must be a string, not 10/],
    [
      'a tiny network',
      { Network: '10.0.0.0/29' },
      'Network',
      /network is too small\. Minimum useful network prefix is \/28/,
    ],
    [
      'a tiny IPv6 network',
      { ...six, IPv6Network: 'fd00::/125' },
      'IPv6Network',
      /IPv6Network is too small\. Minimum useful network prefix is \/124/,
    ],
    ['a subnet of two addresses', { ...V4, SubnetLen: 31 }, 'SubnetLen', /SubnetLen must be less than \/31/],
    [
      'an IPv6 subnet of two addresses',
      { ...six, IPv6Network: 'fd00::/56', IPv6SubnetLen: 127 },
      'IPv6SubnetLen',
      /SubnetLen must be less than \/127/,
    ],
    [
      'two subnets',
      { ...V4, SubnetLen: 17 },
      'SubnetLen',
      /network must be able to accommodate at least four subnets; for 10\.244\.0\.0\/16 write 18 or more/,
    ],
    [
      'a subnet length that is text',
      { ...V4, SubnetLen: '24' },
      'SubnetLen',
      /must be a whole number .* not "24"/,
    ],
    [
      'SubnetMin outside',
      { ...V4, SubnetMin: '10.245.0.0' },
      'SubnetMin',
      /SubnetMin is not in the range of the Network/,
    ],
    [
      'SubnetMax outside',
      { ...V4, SubnetMax: '10.245.0.0' },
      'SubnetMax',
      /SubnetMax is not in the range of the Network/,
    ],
    [
      'SubnetMin off a boundary',
      { ...V4, SubnetMin: '10.244.1.1' },
      'SubnetMin',
      /SubnetMin is not on a SubnetLen boundary: 10\.244\.1\.1; for \/24 write 10\.244\.1\.0/,
    ],
    [
      'IPv6SubnetMax off a boundary',
      { ...six, IPv6Network: 'fd00::/56', IPv6SubnetMax: 'fd00::1' },
      'IPv6SubnetMax',
      /IPv6SubnetMax is not on a SubnetLen boundary: fd00::1/,
    ],
    [
      'IPv6SubnetMin outside',
      { ...six, IPv6Network: 'fd00::/56', IPv6SubnetMin: 'fd01::' },
      'IPv6SubnetMin',
      /IPv6SubnetMin is not in the range of the IPv6Network/,
    ],
    [
      'SubnetMax below SubnetMin',
      { ...V4, SubnetMin: '10.244.9.0', SubnetMax: '10.244.8.0' },
      'SubnetMax',
      /is below SubnetMin 10\.244\.9\.0/,
    ],
    ['a backend that is text', { ...V4, Backend: 'vxlan' }, 'Backend', /must be an object, not "vxlan"/],
    ['a backend type that is a number', { ...V4, Backend: { type: 1 } }, 'Backend.Type', /must be a string/],
    ['EnableIPv6 as text', { ...V4, EnableIPv6: 'yes' }, 'EnableIPv6', /must be true or false, not "yes"/],
    [
      'a malformed exclusion',
      { ...V4, masquerade: { exclude: ['10.0.0.0/8', 'all'] } },
      'masquerade.exclude[1]',
      /'all' is not a network/,
    ],
    [
      'a reserved port beyond all',
      { ...V4, reservedHostPorts: [22, '30000-32767', '65000-65536'] },
      'reservedHostPorts[2]',
      /must be a port from 1 to 65535, or a range like 30000-32767/,
    ],
    [
      'a reserved range backwards',
      { ...V4, reservedHostPorts: ['30-20'] },
      'reservedHostPorts[0]',
      /must be a port/,
    ],
    [
      'a malformed source',
      { ...V4, allowedSources: ['192.0.2.0/24', 'any'] },
      'allowedSources[1]',
      /'any' is not a network/,
    ],
    [
      'a malformed network of Services',
      { ...V4, serviceNetworks: ['x'] },
      'serviceNetworks[0]',
      /'x' is not a/,
    ],
    [
      'an unknown address plan',
      { ...V4, addresses: 'pool' },
      'addresses',
      /must be lease or blocks or dhcp, not 'pool'/,
    ],
    [
      'the group of NFLOG for names',
      { ...V4, policy: { logGroup: ANSWERS } },
      'policy.logGroup',
      /must not be 26221, by which agents see answers/,
    ],
    ['an invalid wiring', { ...V4, wiring: 1 }, 'wiring', /must be a string/],
    [
      'blocks on a bridge',
      { ...V4, addresses: 'blocks', Backend: { Type: 'bgp' } },
      'wiring',
      /must be routed where addresses is blocks/,
    ],
    [
      'BGP on a bridge',
      { ...V4, Backend: { Type: 'bgp' } },
      'wiring',
      /must be routed where Backend.Type is bgp/,
    ],
    [
      'blocks without BGP',
      { ...V4, addresses: 'blocks', wiring: 'routed' },
      'addresses',
      /announced by bgp, not by vxlan; set Backend.Type to bgp, or addresses to lease/,
    ],
    [
      'blocks that are too large',
      { ...BLOCKS, SubnetLen: 19 },
      'SubnetLen',
      /a block is a \/20 or smaller, not a \/19; \/26 is usual/,
    ],
    [
      'IPv6 blocks that are too large',
      { ...BLOCKS, EnableIPv6: true, IPv6Network: 'fd00::/64', IPv6SubnetLen: 80 },
      'IPv6SubnetLen',
      /a block is a \/116 or smaller/,
    ],
    [
      'an exclusion that is not text',
      { ...V4, masquerade: { exclude: [8] } },
      'masquerade.exclude[0]',
      /must be a string/,
    ],
  ];
  for (const [what, conf, object, message] of cases) {
    it(what, () => assert.throws(() => readNetwork(conf), { code: 'CONFIG_INVALID', object, message }));
  }

  it('anything else by CONFIG_INVALID, never by another error', () => {
    const key = fc.constantFrom(
      'network',
      'SubnetLen',
      'subnetmin',
      'enableIPv6',
      'IPv6Network',
      'backend',
      'addresses',
      'wiring',
      'masquerade',
    );
    const value = fc.oneof(
      fc.anything(),
      fc.constantFrom('blocks', 'routed', '10.0.0.0/8', '::/0', 'fd00::/48', 24, true),
    );
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.dictionary(key, value)), (conf) => {
        try {
          readNetwork(conf);
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, 'CONFIG_INVALID', String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('networkToNetConf', () => {
  it('is read back as the same network', () => {
    fc.assert(
      fc.property(networks, (network) => {
        assert.deepEqual(readNetwork(JSON.parse(networkToNetConf(network))), network);
      }),
      { numRuns: 300 },
    );
  });

  it('names one backend type, whatever the case it was written in', () => {
    const conf = JSON.parse(networkToNetConf(readNetwork({ ...V4, Backend: { type: 'HOST-GW' } })));
    assert.deepEqual(conf.Backend, { Type: 'host-gw' });
  });
});

describe('refuseOverlap', () => {
  it('names the field, both networks and the use', () => {
    const network = readNetwork(V4);
    assert.throws(() => refuseOverlap(network, "the nodes' network", [parseCidr('10.0.0.0/8')]), {
      code: 'CONFIG_INVALID',
      message:
        "Network: 10.244.0.0/16 overlaps 10.0.0.0/8, which is the nodes' network; choose a network that nothing else uses",
    });
    refuseOverlap(network, "the nodes' network", [parseCidr('10.243.0.0/16'), parseCidr('fd00::/8')]);
  });
});
