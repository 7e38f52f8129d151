import type { Family } from '../../ip/address.ts';
import type { Chain, Rule, SetValue } from '../../linux/nftables/values/table.ts';
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import type { Logging } from './facts.ts';
import type { Fate } from './sets.ts';

/**
 * What a packet is logged for, which is the prefix of its rule: `unknown` ends are pods whose policies are
 * not in force, or no pods at all.
 */
export const LOGGED = [
  'ingress denied',
  'egress denied',
  'ingress logged',
  'egress logged',
  'unknown source',
  'unknown destination',
] as const;
export type Logged = (typeof LOGGED)[number];

/**
 * The most packets that are logged of one source, and for one reason altogether: whatever arrives beyond
 * costs a lookup.
 */
const OF_SOURCE = 'rate over 5/second burst 20 packets';
const ALTOGETHER = 'rate 50/second burst 100 packets';

/** Sources of packets that have been logged, each with what is left to it. */
export const logged = (family: Family): SetValue => ({
  name: 'logged',
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
  size: 4096,
  dynamic: { timeout: '1m' },
});

/** The last verdict of connections, by what becomes of them. */
export function ends(direction: Direction, logging: Logging | undefined): Readonly<Record<Fate, string>> {
  return {
    allow: 'return',
    deny: `goto ${logging?.denied ? `${direction}-denied` : droppedChain(direction)}`,
    isolate: 'goto isolated',
    'allow-logged': `goto ${direction}-logged`,
    'deny-logged': `goto ${direction}-denied`,
    'isolate-logged': 'goto isolated-logged',
  };
}

/** The end of denied packets: its counter is of all. */
export const droppedChain = (direction: Direction): string => `${direction}-dropped`;

/** The chains that log, where they are. */
export const LOG_CHAINS: readonly string[] = DIRECTIONS.flatMap((direction) => [
  `${direction}-denied`,
  `${direction}-logged`,
]);

/** The chains that drop packets of pods whose policies are not in force; they log, too. */
export const UNPROTECTED_CHAINS = ['known-saddr', 'known-daddr'] as const;

/** The chains that these verdicts lead to. `byRules`: whether any rule wants connections written down. */
export function endChains(
  direction: Direction,
  family: Family,
  logging: Logging | undefined,
  byRules: boolean,
): readonly Chain[] {
  const end = ends(direction, logging);
  const drop = `goto ${droppedChain(direction)}`;
  const dropped = { name: droppedChain(direction), rules: [{ rule: 'counter drop' }] };
  const unlogged = direction === 'egress' ? [isolation('isolated', 'return', end.deny), dropped] : [dropped];
  if (!logging) return unlogged;
  const denied = {
    name: `${direction}-denied`,
    rules: logRules(`${direction} denied`, family, logging, drop),
  };
  if (!byRules) return logging.denied ? [...unlogged, denied] : unlogged;
  const passed = {
    name: `${direction}-logged`,
    rules: logRules(`${direction} logged`, family, logging, 'return'),
  };
  const isolated = isolation('isolated-logged', end['allow-logged'], end['deny-logged']);
  return [...unlogged, denied, passed, ...(direction === 'egress' ? [isolated] : [])];
}

function isolation(name: string, toNode: string, elsewhere: string): Chain {
  const rule = `fib daddr type local ${toNode}`;
  return { name, rules: [{ rule, comment: 'not from its own node' }, { rule: elsewhere }] };
}

/** Logs packets as far as the limits allow, and ends with `verdict` in any case; each rule has a counter. */
export function logRules(what: Logged, family: Family, { group }: Logging, verdict: string): readonly Rule[] {
  const source = family === 4 ? 'ip saddr' : 'ip6 saddr';
  return [
    // Once the set is full, the rule does not match, and the next one's limit is left.
    { rule: `update @${logged(family).name} { ${source} limit ${OF_SOURCE} } counter ${verdict}` },
    { rule: `limit ${ALTOGETHER} counter log prefix "${what}" group ${group}` },
    { rule: `counter ${verdict}` },
  ];
}
