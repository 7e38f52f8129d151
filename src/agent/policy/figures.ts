import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { chainCounts, type RuleCount } from '../../linux/nftables/rule-counts.ts';
import type { TableId } from '../../linux/nftables/values/table.ts';
import { droppedChain, LOG_CHAINS, UNPROTECTED_CHAINS } from '../../policy/compile/ends.ts';
import type { CompiledStaged } from '../../policy/compile/staged/compile.ts';
import { DIRECTIONS, type Direction } from '../../policy/model/policy.ts';
import type { NodePolicies } from '../../policy/node/contributions.ts';
import { stagedCounts } from '../../policy/observe/staged.ts';
import { readCounters } from './counters.ts';

/** How network policies fare on a node, in numbers. Packets: since the tables were written. */
export type PolicyFigures = {
  readonly policies: number;
  /** Those that cannot be read, and close their pods. */
  readonly refused: number;
  /** Staged ones that cannot be read, and close nothing. */
  readonly refusedStaged: number;
  /** Elements of sets in the kernel. */
  readonly elements: number;
  /** Packets denied, and those from or to pods whose policies are not in force, or that are none. */
  readonly denied: Readonly<Record<Direction | 'unprotected', number>>;
  /** Packets, at least, that would have been logged but for a limit, or were lost on the way. */
  readonly unlogged: number;
  /** What staged policies would decide otherwise, in packets. */
  readonly staged: readonly StagedFigures[];
  /** Seconds that the last change took from when the agent knew it until the kernel held it. */
  readonly lastChange?: number;
};

export type StagedFigures = {
  readonly policy: string;
  readonly wouldDeny: number;
  readonly wouldAllow: number;
};

/** Counts what the kernel holds and has denied. `netns`: a path; by default the thread's own. */
export async function policyFigures(
  { contributions, compiled, staged, cluster }: NodePolicies,
  netns?: string,
): Promise<Omit<PolicyFigures, 'lastChange'>> {
  const policies = cluster.tiers.flatMap((tier) => tier.policies);
  const unreadable = policies.filter(({ isUnreadable }) => isUnreadable);
  const counts = await Promise.all(compiled.tables.map((table) => countsOf(table, netns)));
  const total = (of: (each: Counts) => number): number => counts.reduce((sum, each) => sum + of(each), 0);
  return {
    policies: policies.length,
    refused: unreadable.filter(({ staged }) => !staged).length,
    refusedStaged: unreadable.filter(({ staged }) => staged).length,
    elements: contributions.flatMap(({ items }) => items).filter(({ kind }) => kind === 'nft-element').length,
    denied: {
      ingress: total(({ ingress }) => ingress),
      egress: total(({ egress }) => egress),
      unprotected: total(({ unprotected }) => unprotected),
    },
    unlogged: total(({ unlogged }) => unlogged),
    staged: staged ? await stagedFigures(staged, netns) : [],
  };
}

async function stagedFigures(
  { tables, pods }: CompiledStaged,
  netns: string | undefined,
): Promise<StagedFigures[]> {
  const differing = [...pods.values()].flat();
  const counters = await readCounters(
    tables,
    differing.map(({ item }) => item),
    netns,
  );
  const figures = new Map<string, StagedFigures>();
  for (const direction of DIRECTIONS) {
    for (const [policy, { wouldDeny, wouldAllow }] of stagedCounts(direction, differing, counters)) {
      const last = figures.get(policy) ?? { policy, wouldDeny: 0, wouldAllow: 0 };
      figures.set(policy, {
        policy,
        wouldDeny: last.wouldDeny + wouldDeny.packets,
        wouldAllow: last.wouldAllow + wouldAllow.packets,
      });
    }
  }
  return [...figures.values()];
}

type Counts = PolicyFigures['denied'] & { readonly unlogged: number };

async function countsOf(table: TableId, netns: string | undefined): Promise<Counts> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  const read = async (chains: readonly string[]): Promise<readonly RuleCount[][]> => {
    const all: RuleCount[][] = [];
    for (const chain of chains) all.push(await socket.dump(chainCounts(table, chain)));
    return all;
  };
  const [ingress = [], egress = []] = await read(DIRECTIONS.map(droppedChain));
  const unprotected = await read(UNPROTECTED_CHAINS);
  const logging = [...(await read(LOG_CHAINS)), ...unprotected].filter((rules) => rules.some(isLog));
  return {
    ingress: sum(ingress),
    egress: sum(egress),
    unprotected: sum(unprotected.flat().filter((rule) => !isLog(rule))),
    unlogged: logging.reduce((total, rules) => total + unloggedIn(rules), 0),
  };
}

/** A packet beyond its source's limit ends there; one that is logged is counted again by the last rule. */
function unloggedIn(rules: readonly RuleCount[]): number {
  return sum(rules.filter((rule) => !isLog(rule))) - sum(rules.filter(isLog));
}

function isLog({ expressions }: RuleCount): boolean {
  return expressions.includes('log');
}

function sum(rules: readonly RuleCount[]): number {
  return rules.reduce((total, { packets }) => total + packets, 0);
}
