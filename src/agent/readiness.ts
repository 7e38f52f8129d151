import type { Network } from '../cluster/network.ts';
import { overlapWithHost } from '../cluster/overlap.ts';
import type { Cidr } from '../ip/cidr.ts';
import { type Problem, type ProblemId, problemText } from '../problem.ts';
import type { ClusterFeed } from '../store/ports/feed.ts';
import type { PolicyFeed } from '../store/ports/policies.ts';
import type { Facts } from './facts.ts';

/** Other reasons not to take pods; undefined for none. */
export type Problems = {
  /** Knows what keeps the cluster's nodes from being known. */
  readonly feed?: Pick<ClusterFeed, 'problems'>;
  /** Knows what keeps network policies from being known. Absent: the store has none. */
  readonly policies?: Pick<PolicyFeed, 'problems'> | undefined;
  /** Why the kernel doesn't hold the node's own part of the desired state. */
  readonly kernel: string | undefined;
  /** Why the backend's companion is not ready. */
  readonly companion: string | undefined;
  /** What the companion still waits for; a pod that is started nevertheless need not wait with it. */
  readonly opening?: string | undefined;
};

/** Returns why this node can't take pods: the first reason in startup order; undefined when it can. */
export function notReady(facts: Facts, others: Problems): string | undefined {
  const problem = obstacleTo(facts, others);
  return problem && problemText(problem);
}

/** Like `notReady`, but as a problem. */
export function obstacleTo(facts: Facts, others: Problems): Problem | undefined {
  const { underlay, network, subnets } = facts;
  const silence = 'no answer from the store yet';
  if (!underlay) {
    const cause = facts.obstacle('underlay') ?? 'the interfaces have not been read yet';
    return obstacle('no-underlay', 'no underlay', cause);
  }
  if (!network) {
    return obstacle('no-network', 'the network is unknown', facts.obstacle('network') ?? silence);
  }
  if (!facts.nodes) {
    return obstacle('no-network', 'the cluster’s nodes are unknown', feedProblem(others.feed) ?? silence);
  }
  if (!subnets) return obstacle('no-subnet', 'no subnet', facts.obstacle('subnets') ?? silence);
  const overlap = overlapOf(facts, network, subnets);
  if (overlap) return overlap;
  if (network.policy && !facts.policy.view) {
    return obstacle('policies-unknown', 'the network policies are unknown', policyProblem(others.policies));
  }
  const { kernel, companion, opening } = others;
  if (kernel !== undefined) return obstacle('node-not-set-up', kernel);
  const uncertain = doubt(facts);
  if (uncertain) return uncertain;
  if (network.policy && !facts.enforcedPolicies) {
    const cause = `the cluster’s nodes are unknown: ${feedProblem(others.feed) ?? silence}`;
    return obstacle('policies-unknown', 'the network policies are not enforced yet', cause);
  }
  if (companion !== undefined) return obstacle('companion-not-ready', companion);
  return opening === undefined ? undefined : obstacle('sessions-opening', opening);
}

/** What keeps the cluster's nodes from being known, if anything does. */
function feedProblem(feed: Pick<ClusterFeed, 'problems'> | undefined): string | undefined {
  const [first] = feed?.problems ?? [];
  return first && (first.cause ?? first.what);
}

function policyProblem(policies: Pick<PolicyFeed, 'problems'> | undefined): string {
  if (!policies) return 'this store has none';
  const [first] = policies.problems;
  return first ? (first.cause ?? first.what) : 'no answer from the store yet';
}

function overlapOf(facts: Facts, network: Network, subnets: readonly Cidr[]): Problem | undefined {
  const { host, resources, nodes = [] } = facts;
  const found = overlapWithHost({ host, network, resources, nodes, subnets });
  if (!found) return undefined;
  const what = `${found.cidr}, a network of pods, overlaps ${found.other}, ${found.use}`;
  return { id: 'pods-network-in-use', severity: 'error', what, fix: 'give one of them other addresses' };
}

function doubt(facts: Facts): Problem | undefined {
  const cause = facts.obstacle('subnets');
  if (facts.own.standing === 'remembered') {
    return obstacle('subnets-unconfirmed', 'the store has not confirmed its subnets yet', cause);
  }
  if (facts.own.standing === 'lost') {
    return obstacle('subnets-lost', 'its subnets are no longer its own', cause);
  }
  return undefined;
}

function obstacle(id: ProblemId, what: string, cause?: string): Problem {
  return { id, severity: 'error', what, ...(cause !== undefined && { cause }) };
}
