import { BITS, type Family, familyOf, type Ip, ipFromBigInt, ipToBigInt } from '../../ip/address.ts';
import type { Effect } from '../compile/effects.ts';
import type { Identified } from '../compile/identities.ts';
import { identityAround, identityAt } from '../compile/verdicts.ts';

/** Nothing tells addresses apart. */
export const NOBODY: Identified<Effect> = {
  addresses: new Map(),
  ranges: [],
  stranger: { key: '', rules: new Set(), ports: [], shares: [] },
  names: new Map(),
};

/** Who was one to the rules and is another now, or still the same. */
export type Transition = {
  readonly was: Effect;
  readonly is: Effect;
  /** Absent: there are whole networks among them. */
  readonly addresses?: readonly Ip[];
};

/** Every address of a family is in one of these. */
export function transitionsOf(
  before: Identified<Effect>,
  after: Identified<Effect>,
  family: Family,
): readonly Transition[] {
  const all = new Map<Effect, Map<Effect, Ip[]>>();
  const at = (was: Effect, is: Effect): Ip[] => {
    const others = all.get(was) ?? new Map<Effect, Ip[]>();
    all.set(was, others);
    const addresses = others.get(is) ?? [];
    others.set(is, addresses);
    return addresses;
  };
  const ofFamily = (ip: Ip): boolean => familyOf(ip) === family;
  for (const ip of new Set([...before.addresses.keys(), ...after.addresses.keys()]))
    if (ofFamily(ip)) at(identityAt(before, ip), identityAt(after, ip)).push(ip);
  const networks = new Set([at(before.stranger, after.stranger)]);
  for (const ip of beginnings([...before.ranges, ...after.ranges], family))
    networks.add(at(identityAround(before, ip), identityAround(after, ip)));
  return [...all].flatMap(([was, others]) =>
    [...others].map(([is, addresses]) => ({ was, is, ...(!networks.has(addresses) && { addresses }) })),
  );
}

/** The first address of each range, and the first beyond it: between two of them nothing changes. */
function beginnings(ranges: Identified<Effect>['ranges'], family: Family): ReadonlySet<Ip> {
  const begin = new Set<Ip>([ipFromBigInt(family, 0n)]);
  for (const { range } of ranges) {
    if (familyOf(range.first) !== family) continue;
    begin.add(range.first);
    const next = ipToBigInt(range.last) + 1n;
    if (next >> BigInt(BITS[family]) === 0n) begin.add(ipFromBigInt(family, next));
  }
  return begin;
}
