import fc from 'fast-check';
import type { Network } from '../../src/cluster/network.ts';
import { ANSWERS } from '../../src/cluster/policy-options.ts';
import type { Pool } from '../../src/cluster/pool.ts';
import { BITS, type Family } from '../../src/ip/address.ts';
import { lengthOf, nthIp, sizeOf } from '../../src/ip/cidr.ts';
import { cidrs } from '../ip/arbitraries.ts';

/** A pool as `readNetwork` could return it; `bits`: the maximum number of subnets, as a power of two. */
export function pools(family: Family, bits: number = BITS[family]): fc.Arbitrary<Pool> {
  return cidrs(family, 1, BITS[family] - 4).chain((cidr) => {
    const min = lengthOf(cidr) + 2;
    return fc
      .integer({ min, max: Math.min(BITS[family] - 2, lengthOf(cidr) + bits) })
      .chain((subnetLength) => {
        const size = 1n << BigInt(BITS[family] - subnetLength);
        const index = fc.bigInt({ min: 0n, max: sizeOf(cidr) / size - 1n });
        return fc.tuple(index, fc.oneof(index, fc.constant(0n))).map(([max, start]) => ({
          cidr,
          subnetLength,
          subnetMin: nthIp(cidr, (start % (max + 1n)) * size),
          subnetMax: nthIp(cidr, max * size),
        }));
      });
  });
}

/** Of one port up to all. */
const portRanges = fc
  .tuple(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 65_535 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

export const networks: fc.Arbitrary<Network> = fc
  .record({
    four: fc.option(pools(4), { nil: undefined }),
    six: fc.option(pools(6), { nil: undefined }),
    plan: fc.constantFrom(
      { type: 'vxlan', addresses: 'lease', wiring: 'bridge' } as const,
      { type: 'host-gw', addresses: 'lease', wiring: 'routed' } as const,
      { type: 'wireguard', addresses: 'lease', wiring: 'bridge' } as const,
      { type: 'bgp', addresses: 'lease', wiring: 'routed' } as const,
      { type: 'bgp', addresses: 'blocks', wiring: 'routed' } as const,
    ),
    options: fc.dictionary(
      fc.constantFrom('VNI', 'Port', 'mtu', 'DirectRouting'),
      fc.oneof(fc.nat(), fc.boolean()),
      { noNullPrototype: true },
    ),
    masquerade: fc.record(
      {
        enabled: fc.boolean(),
        randomFully: fc.boolean(),
        exclude: fc.array(fc.oneof(cidrs(4), cidrs(6)), { maxLength: 3 }),
      },
      { noNullPrototype: true },
    ),
    guard: fc.boolean(),
    policy: fc.option(
      fc.record(
        {
          onChange: fc.constantFrom('cut', 'keep'),
          offload: fc.boolean(),
          logDenied: fc.boolean(),
          logGroup: fc.integer({ min: 0, max: 65_535 }).filter((group) => group !== ANSWERS),
          resolvers: fc.array(fc.oneof(cidrs(4), cidrs(6)), { maxLength: 2 }),
        },
        { noNullPrototype: true, requiredKeys: ['onChange', 'offload', 'logDenied', 'logGroup'] },
      ),
      { nil: undefined },
    ),
    allowedSources: fc.array(fc.oneof(cidrs(4), cidrs(6)), { maxLength: 2 }),
    serviceNetworks: fc.option(fc.array(fc.oneof(cidrs(4), cidrs(6)), { maxLength: 2 }), { nil: undefined }),
    reservedHostPorts: fc.array(portRanges, { maxLength: 3 }),
  })
  .filter(({ four, six }) => four !== undefined || six !== undefined)
  .map(({ four, six, plan: { type, addresses, wiring }, options, serviceNetworks, policy, ...others }) => ({
    pools: { ...(four && { 4: four }), ...(six && { 6: six }) },
    addresses: (four?.subnetLength ?? 32) < 20 || (six?.subnetLength ?? 128) < 116 ? 'lease' : addresses,
    wiring,
    backend: { type, options },
    ...(serviceNetworks && { serviceNetworks }),
    ...(policy && others.guard && { policy }),
    ...others,
  }));
