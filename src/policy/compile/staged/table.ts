import type { Family } from '../../../ip/address.ts';
import type { Chain, Rule, SetValue, TableId } from '../../../linux/nftables/values/table.ts';
import type { NftTableItem } from '../../../state/kinds/nft-table.ts';
import { DIRECTIONS, type Direction } from '../../model/policy.ts';
import { isInterval, type Lane, peerNets, peers, type Scope, scopeKey, subjects } from '../sets.ts';
import { address, END, FIELDS, identification, NEIGHBOURS, numbers, peerChain } from '../table.ts';

export const stagedTableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-staged' }) as const satisfies TableId;

export type StagedShape = {
  /** How many identities there is room for, by direction. */
  readonly peers: Readonly<Record<Direction, number>>;
  /** By what connections are looked up. */
  readonly scopes: readonly Scope[];
};

/** The connections of a lane of which something is known: the most special set counts. */
export function differing({ direction, peer }: Lane, scope: Scope, family: Family): SetValue {
  return {
    name: `${direction}-${peer}-${scope}`,
    key: scopeKey(scope, family),
    ...(isInterval(scope) && { interval: true }),
    counts: true,
  };
}

/**
 * Counts the connections that staged policies would decide otherwise, and decides nothing itself. It comes
 * before all that may drop them.
 */
export function stagedTable({ peers: counts, scopes }: StagedShape, family: Family): NftTableItem {
  const lanes = DIRECTIONS.flatMap((direction) =>
    numbers(counts[direction]).map((peer) => ({ direction, peer })),
  );
  return {
    kind: 'nft-table',
    ...stagedTableOf(family),
    sets: [
      ...DIRECTIONS.flatMap((direction) =>
        [subjects, peers, peerNets].map((of): SetValue => of(direction, family)),
      ),
      ...lanes.flatMap((lane) => scopes.map((scope) => differing(lane, scope, family))),
    ],
    chains: [
      hooked('forward', [], family),
      hooked('output', [{ rule: 'fib saddr type local return', comment: 'the node’s own' }], family),
      ...DIRECTIONS.map((direction) => identification(direction, family)),
      ...lanes.map((lane) => counting(lane, scopes, family)),
    ],
  };
}

function hooked(hook: 'forward' | 'output', first: readonly Rule[], family: Family): Chain {
  return {
    name: hook,
    hook: { type: 'filter', hook, priority: 'filter - 2' },
    rules: [
      { rule: 'ct state established,related return' },
      ...first,
      ...(family === 6 ? NEIGHBOURS : []),
      ...DIRECTIONS.map((direction) => ({
        rule: `${address(END[direction].own, family)} @${subjects(direction, family).name} jump ${direction}`,
      })),
    ],
  };
}

function counting(lane: Lane, scopes: readonly Scope[], family: Family): Chain {
  const pod = address(END[lane.direction].own, family);
  return {
    name: peerChain(lane.direction, lane.peer),
    rules: scopes.map((scope) => ({
      rule: `${pod}${FIELDS[scope]} @${differing(lane, scope, family).name} return`,
    })),
  };
}
