import fc from 'fast-check';
import { BITS, FAMILIES, type Family, type Ip, ipFromBytes } from '../../src/ip/address.ts';
import { type Cidr, cidrOf } from '../../src/ip/cidr.ts';

/** Addresses, with many zero and all-one bytes so that shortening and edges come up. */
export function ips(family: Family): fc.Arbitrary<Ip> {
  const byte = fc.oneof({ weight: 2, arbitrary: fc.constantFrom(0, 255) }, fc.nat(255));
  const length = BITS[family] / 8;
  return fc
    .array(byte, { minLength: length, maxLength: length })
    .map((bytes) => ipFromBytes(Uint8Array.from(bytes)));
}

export const anyIp: fc.Arbitrary<Ip> = fc.constantFrom(...FAMILIES).chain(ips);

export function cidrs(family: Family, min = 0, max: number = BITS[family]): fc.Arbitrary<Cidr> {
  return fc.tuple(ips(family), fc.integer({ min, max })).map(([ip, length]) => cidrOf(ip, length));
}

export const anyCidr: fc.Arbitrary<Cidr> = fc.constantFrom(...FAMILIES).chain((family) => cidrs(family));
