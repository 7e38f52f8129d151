import { excerpt, type Problem, timeText, warning } from '../../problem.ts';
import type { ClusterState } from './cluster-state.ts';

/** Problems beyond this number are only counted. */
const SHOWN = 10;

export type FeedCondition = {
  readonly outage: { readonly since: Date; readonly reason: string } | undefined;
  /** Since when the API has no Nodes. */
  readonly lost: Date | undefined;
  /** Why the configuration is ignored; empty: there is none; undefined: it is in force. */
  readonly config: string | undefined;
  readonly configTitle: string;
  /** When the configuration in force was read. */
  readonly configTime: Date | undefined;
  /** Objects of our own kinds that cannot be read, and why. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** Objects with fields that mean nothing here, and which. */
  readonly ignored: ReadonlyMap<string, string>;
};

/** What keeps the views from being complete and current, and which Nodes are ignored. */
export function clusterProblems(state: ClusterState, condition: FeedCondition): Problem[] {
  const { outage, lost } = condition;
  const objects = [...condition.unreadable].map(([title, why]) =>
    warning(
      'store-key-ignored',
      `${title} is ignored`,
      `${why}; its last good value stays in force`,
      'correct or delete it',
    ),
  );
  const fields = [...condition.ignored].map(([title, which]) =>
    warning(
      'store-key-ignored',
      `a field of ${title} is ignored`,
      which,
      'flatnet does not have what it asks for',
    ),
  );
  const subnets = state.network?.addresses === 'blocks' ? blocksRefused : refusal;
  const all = [
    ...unreadable(state),
    ...objects,
    ...fields,
    ...state.refusals.toSorted().map(([name, why]) => subnets(name, why)),
  ];
  const hidden = all.length - SHOWN;
  return [
    ...(outage ? [silence(outage.since, outage.reason)] : []),
    ...(lost ? [loss(lost)] : []),
    ...configProblems(state, condition),
    ...all.slice(0, SHOWN),
    ...(hidden > 0 ? [warning('store-key-ignored', `${hidden} more Nodes are ignored`)] : []),
  ];
}

function silence(since: Date, reason: string): Problem {
  const what = `the Kubernetes API cannot be followed since ${timeText(since)}`;
  const cause = `${excerpt(reason, 400)}; the last known state stays in force`;
  return warning('store-unreachable', what, cause, 'check that it runs and lets this node in');
}

function loss(since: Date): Problem {
  return {
    id: 'store-lost-data',
    severity: 'error',
    what: `the API server came back without its data at ${timeText(since)}`,
    cause: 'every Node was missing; the last known state stays in force',
    fix: 'restore etcd’s backup, or let the kubelets register their Nodes again',
  };
}

function configProblems(state: ClusterState, { config, configTitle, configTime }: FeedCondition): Problem[] {
  if (config === undefined || !state.network) return [];
  const former = configTime
    ? `the configuration of ${timeText(configTime)} stays in force`
    : 'the last good one stays in force';
  if (config === '')
    return [warning('network-config-missing', `${configTitle} is missing`, former, 'write it again')];
  const cause = `${config}; ${former}`;
  return [warning('network-config-unusable', `${configTitle} is ignored`, cause, 'correct it')];
}

function unreadable(state: ClusterState): Problem[] {
  const found: Problem[] = [];
  for (const { name, problems } of state.readings()) {
    const kept = state.isKept(name) ? '; its last good value stays in force' : '';
    for (const problem of problems) {
      const what = `an annotation or field of Node ${excerpt(name, 120)} is ignored`;
      found.push(warning('store-key-ignored', what, excerpt(problem) + kept, 'correct or delete it'));
    }
  }
  return found;
}

function blocksRefused(name: string, reason: string): Problem {
  const what = `a block of Node ${excerpt(name, 120)} is ignored`;
  return warning('subnet-claim-refused', what, excerpt(reason), 'flatnet ipam check says more');
}

function refusal(name: string, reason: string): Problem {
  const what = `spec.podCIDRs of Node ${excerpt(name, 120)} is ignored`;
  return warning('subnet-claim-refused', what, excerpt(reason), PODCIDR_FIX);
}

/** What to do about a Node with unusable podCIDRs, which cannot be changed once set. */
export const PODCIDR_FIX =
  'delete the Node and restart its kubelet, so that kube-controller-manager gives it another; its --cluster-cidr must be the network';
