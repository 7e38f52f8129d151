import { type Ip, ipToBigInt } from '../ip/address.ts';
import { addressOf, type Cidr, lastIp } from '../ip/cidr.ts';
import type { EntityMatcher } from './model/matcher.ts';
import { DIRECTIONS, type Policy, policyText, type Rule } from './model/policy.ts';

/**
 * The most that selectors may ask for in the rules of one namespace's policies for a direction, each selector
 * once: all is tried on each pod of the cluster.
 */
export const MOST_REQUIREMENTS = 10_000;
/** The most rules that log: what each of them is about is told apart, also where others decide. */
export const MOST_LOGGING = 500;
/**
 * The most that networks may overlap: rules that are about an address, summed up over the ranges in
 * which that is the same. Networks side by side count once each, n around n others n times n.
 */
export const MOST_OVERLAP = 500_000;

/** What a policy's direction adds to that of others. */
type Load = {
  readonly selectors: readonly EntityMatcher[];
  readonly logging: number;
  /** Where networks begin and end: +1 and −1. */
  readonly bounds: readonly (readonly [bigint, number])[];
};

const loads = new WeakMap<Policy, readonly Load[]>();

/**
 * Which of the policies that one namespace has, or the cluster as a whole, are too much for a node, and why:
 * those that come, by name, after as many as it can bear.
 */
export function excess(policies: readonly Policy[]): ReadonlyMap<Policy, string> {
  const sorted = policies.toSorted((a, b) => (policyText(a) < policyText(b) ? -1 : 1));
  if (excessOf(sorted) === undefined) return new Map();
  let [bearable, tooMany] = [0, sorted.length];
  while (bearable + 1 < tooMany) {
    const middle = (bearable + tooMany) >> 1;
    if (excessOf(sorted.slice(0, middle)) === undefined) bearable = middle;
    else tooMany = middle;
  }
  const reason = excessOf(sorted.slice(0, bearable + 1)) ?? '';
  return new Map(sorted.slice(bearable).map((policy) => [policy, reason]));
}

function excessOf(policies: readonly Policy[]): string | undefined {
  for (const [i, direction] of DIRECTIONS.entries()) {
    const all = policies.flatMap((policy) => loadOf(policy)[i] ?? []);
    const logging = all.reduce((sum, load) => sum + load.logging, 0);
    const where = `its rules for ${direction}, with those of the policies before it by name,`;
    if (logging > MOST_LOGGING) return `${where} log more than ${MOST_LOGGING} times`;
    if (requirements(all) > MOST_REQUIREMENTS)
      return `${where} have selectors with more than ${MOST_REQUIREMENTS} requirements`;
    if (overlap(all) > MOST_OVERLAP)
      return `${where} have networks that overlap too much: more than ${MOST_OVERLAP}, if those around an address are counted, range by range`;
  }
  return undefined;
}

function requirements(all: readonly Load[]): number {
  const selectors = new Map(all.flatMap((load) => load.selectors).map((each) => [each.text, each.size ?? 1]));
  return [...selectors.values()].reduce((sum, size) => sum + size, 0);
}

function loadOf(policy: Policy): readonly Load[] {
  const known = loads.get(policy) ?? DIRECTIONS.map((direction) => measured(policy[direction] ?? []));
  loads.set(policy, known);
  return known;
}

function measured(rules: readonly Rule[]): Load {
  const matchers = rules.flatMap(({ peers = [], own }) =>
    [...peers, ...(own ? [own] : [])].flatMap(({ are, areNot }) => [...are, ...areNot]),
  );
  return {
    selectors: matchers.filter((each): each is EntityMatcher => 'selects' in each),
    logging: rules.filter(({ action }) => action === 'log').length,
    bounds: matchers.flatMap((each) => (each.kind === 'nets' ? each.nets.flatMap(boundsOf) : [])),
  };
}

/** IPv6 lies behind IPv4. */
function boundsOf(net: Cidr): [bigint, number][] {
  const at = (ip: Ip): bigint => ipToBigInt(ip) + (ip.includes(':') ? 1n << 33n : 0n);
  return [
    [at(addressOf(net)), 1],
    [at(lastIp(net)) + 1n, -1],
  ];
}

/** Sums up, range by range, how many networks are around it. */
function overlap(all: readonly Load[]): number {
  const bounds = all.flatMap((load) => load.bounds).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  let [depth, sum] = [0, 0];
  for (const [i, [at, step]] of bounds.entries()) {
    depth += step;
    if (bounds[i + 1]?.[0] !== at) sum += depth;
  }
  return sum;
}
