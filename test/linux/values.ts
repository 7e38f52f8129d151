import fc from 'fast-check';
import { ipFromBytes } from '../../src/ip/address.ts';
import { type Cidr, cidrOf, type Prefixed, prefixed } from '../../src/ip/cidr.ts';
import { macFromBytes } from '../../src/ip/mac.ts';

/** Arbitrary values for property tests. */
export const ip4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ipFromBytes(bytes));
export const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => ipFromBytes(bytes));
export const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => macFromBytes(bytes));
export const u32 = fc.integer({ min: 1, max: 0x7fffffff });
export const cidr4: fc.Arbitrary<Cidr> = fc
  .tuple(ip4, fc.integer({ min: 1, max: 32 }))
  .map(([ip, n]) => cidrOf(ip, n));
export const cidr6: fc.Arbitrary<Cidr> = fc
  .tuple(ip6, fc.integer({ min: 1, max: 128 }))
  .map(([ip, n]) => cidrOf(ip, n));
export const prefixed4: fc.Arbitrary<Prefixed> = fc
  .tuple(ip4, fc.integer({ min: 1, max: 32 }))
  .map(([ip, n]) => prefixed(ip, n));
export const prefixed6: fc.Arbitrary<Prefixed> = fc
  .tuple(ip6, fc.integer({ min: 1, max: 128 }))
  .map(([ip, n]) => prefixed(ip, n));
export const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/);

/** Present or absent. */
export function maybe<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(value, { nil: undefined });
}

/** Drops undefined properties, for comparison. */
export function given<T extends object>(value: T): Partial<T> {
  return JSON.parse(JSON.stringify(value));
}
