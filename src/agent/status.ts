import type { LocalPod, Underlay } from '../cluster/node.ts';
import type { Companions } from '../companions/companions.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { PathSummary } from '../probe/rounds.ts';
import type { SelfTest } from '../probe/self-test.ts';
import { excerpt, type Problem } from '../problem.ts';
import type { ClusterFeed } from '../store/ports/feed.ts';
import type { PolicyFeed } from '../store/ports/policies.ts';
import type { Facts } from './facts.ts';
import type { LoopStatus } from './health.ts';
import type { Loop } from './loop.ts';
import type { PolicyFigures } from './policy/figures.ts';
import type { NamesStatus } from './policy/names.ts';
import { notReady } from './readiness.ts';
import { type StoreStatus, storeStatus, type Tenure, tenureProblems } from './store-status.ts';

/** The agent's answer to `{"op":"status"}`: everything the CLI and the lab show of a node. */
export type AgentStatus = {
  readonly node: string;
  readonly ready: boolean;
  /** Why it can't take pods. */
  readonly notReady?: string;
  readonly pid: number;
  readonly subnets: readonly Cidr[];
  /** The backend's type, once the network is known. */
  readonly backend?: string;
  readonly underlay?: Underlay;
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
  /** Number of other nodes. */
  readonly peers: number;
  /** Packets that the backend's own program carried and dropped, by what became of them. */
  readonly packets?: Readonly<Record<string, number>>;
  /** What carries them, and why nothing better. */
  readonly carrier?: string;
  /** Absent: no policies are in force. */
  readonly policies?: PolicyFigures;
  /** Which versions of API groups policies are read from. Absent: the store has its own, or none count. */
  readonly policyOrigins?: readonly string[];
  readonly pods: readonly LocalPod[];
  readonly reconcile: LoopStatus;
  /** All that is wrong, apart from the reason it is not ready. */
  readonly problems: readonly Problem[];
  readonly store: StoreStatus;
  /** What domain names in policies stand for here. Absent: there are none. */
  readonly names?: NamesStatus;
  /** What the self-test of the ways to peers has found. Absent: the agent is of an older release. */
  readonly paths?: PathSummary;
};

/** Inputs of the status. */
export type StatusSources = {
  readonly facts: Facts;
  readonly loop: Loop;
  readonly companions: Companions;
  readonly membership: { readonly tenure: Tenure };
  readonly feed: Pick<ClusterFeed, 'problems'>;
  readonly policies: Pick<PolicyFeed, 'problems' | 'origins'> | undefined;
  readonly policyLog: { readonly problem: Problem | undefined; readonly isWantedByRules: boolean };
  /** Watches what domain names stand for. */
  readonly names: { readonly problems: readonly Problem[]; readonly status: NamesStatus | undefined };
  /** Ends connections that policies no longer allow. */
  readonly cut: { readonly problems: readonly Problem[] };
  readonly underlay: { readonly problems: readonly Problem[] };
  /** Foreign firewall rules that affect pods. */
  readonly firewall: { readonly problems: readonly Problem[] };
  readonly cni: { readonly problems: readonly Problem[] };
  readonly selfTest: SelfTest;
};

/** `readNow`: problems that are read now; `figures`: likewise, of `PolicyWatch`. */
export function agentStatus(
  sources: StatusSources,
  readNow: readonly Problem[],
  figures?: PolicyFigures,
): AgentStatus {
  const { facts, loop, companions, membership, feed, firewall } = sources;
  const { network, underlay } = facts;
  const { node } = facts.options;
  const { problem, opening, counters, carrier } = companions;
  const { policies, names } = sources;
  const others = { feed, policies, kernel: loop.problem, companion: problem, opening };
  const reason = notReady(facts, others);
  const isLogWanted = network?.policy?.logDenied || sources.policyLog.isWantedByRules;
  return {
    node,
    ready: reason === undefined,
    ...(reason !== undefined && { notReady: reason }),
    pid: process.pid,
    subnets: facts.subnets ?? [],
    ...(network && { backend: network.backend.type }),
    ...(underlay && { underlay }),
    mtu: loop.mtu,
    peers: (facts.nodes ?? []).filter(({ name }) => name !== node).length,
    ...(counters && { packets: counters }),
    ...(carrier !== undefined && { carrier }),
    ...(figures && { policies: figures }),
    ...(network?.policy && policies?.origins && { policyOrigins: policies.origins }),
    ...(names.status && { names: names.status }),
    pods: facts.pods.list(),
    reconcile: loop.status,
    problems: [
      ...failures(loop, reason),
      ...sources.underlay.problems,
      ...tenureProblems(membership.tenure),
      ...feed.problems,
      ...(network?.policy ? [...(policies?.problems ?? []), ...names.problems, ...sources.cut.problems] : []),
      ...(isLogWanted ? [sources.policyLog.problem ?? []].flat() : []),
      ...facts.own.strayBlocks.map(strayBlock),
      ...loop.reconciler.troubles,
      ...loop.reconciler.warnings,
      ...(loop.computed?.desired.warnings ?? []),
      ...companions.warnings,
      ...firewall.problems,
      ...sources.cni.problems,
      ...sources.selfTest.problems,
      ...readNow,
    ],
    store: storeStatus(membership.tenure),
    paths: sources.selfTest.summary,
  };
}

function strayBlock(block: Cidr): Problem {
  const what = `block ${block} of this node is in no IPPool`;
  return { id: 'block-outside-pools', severity: 'warning', what, cause: 'it is not announced' };
}

/** What the kernel refuses, apart from what already makes the node not ready. */
function failures({ status }: Loop, notReady = ''): Problem[] {
  const refused: Problem[] = status.failures
    .filter((text) => !notReady.includes(text))
    .map((what) => ({ id: 'kernel-refuses', severity: 'error', what }));
  const { unguarded: cause } = status;
  if (cause === undefined) return refused;
  const what = 'pods on the bridge are not guarded';
  const fix = 'use a kernel with CONFIG_NF_TABLES_BRIDGE and nftables 1.0.6, or set guard to false';
  return [{ id: 'pods-not-guarded', severity: 'error', what, cause: excerpt(cause), fix }, ...refused];
}

/** Whether the node does what it says: it takes pods, and those it has reach what they should. */
export function isWell({ ready, problems }: Pick<AgentStatus, 'ready' | 'problems'>): boolean {
  return ready && problems.every(({ severity }) => severity !== 'error');
}
