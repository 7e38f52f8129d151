import { excerpt, type Problem, timeText } from '../../problem.ts';
import type { ClusterState } from './cluster-state.ts';
import type { Layout } from './layout.ts';

/** Problems beyond this number are only counted. */
const SHOWN = 10;
const KEY_LENGTH = 120;

/** Returns what is wrong with the network's keys: a bad or missing configuration, then other bad keys. */
export function keyProblems(state: ClusterState, { config }: Layout): Problem[] {
  const others = [...state.unreadable].filter(([key]) => key !== config).sort();
  const all = [
    ...others.flatMap(([key, reasons]) => reasons.map((reason) => keyProblem(state, key, reason))),
    ...state.refusals.toSorted().map(([key, reason]) => refusal(key, reason)),
  ];
  const hidden = all.length - SHOWN;
  return [
    ...configProblems(state, config),
    ...all.slice(0, SHOWN),
    ...(hidden > 0
      ? [
          {
            id: 'store-key-ignored',
            severity: 'warning',
            what: `${hidden} more values in the store are ignored`,
          } as const,
        ]
      : []),
  ];
}

function configProblems(state: ClusterState, config: string): Problem[] {
  if (!state.view()) return [];
  const [reason] = state.unreadable.get(config) ?? [];
  if (reason !== undefined) {
    const cause = `${excerpt(reason)}; ${formerStays(state)}`;
    return [
      {
        id: 'network-config-unusable',
        severity: 'warning',
        what: `${config} is ignored`,
        cause,
        fix: 'correct it',
      },
    ];
  }
  if (state.item(config)) return [];
  return [
    {
      id: 'network-config-missing',
      severity: 'warning',
      what: `${config} is missing`,
      cause: formerStays(state),
      fix: 'write it again',
    },
  ];
}

function formerStays({ networkTime }: ClusterState): string {
  return networkTime
    ? `the configuration of ${timeText(networkTime)} stays in force`
    : 'the last good one stays in force';
}

/** A claim to a subnet or block that does not count. */
function refusal(key: string, reason: string): Problem {
  return {
    id: 'subnet-claim-refused',
    severity: 'warning',
    what: `${excerpt(key, KEY_LENGTH)} is ignored`,
    cause: excerpt(reason),
    fix: 'delete it; a node that still uses it takes another subnet when its agent is restarted',
  };
}

function keyProblem(state: ClusterState, key: string, reason: string): Problem {
  const isPart = state.isRead(key);
  const cause = excerpt(reason);
  return {
    id: 'store-key-ignored',
    severity: 'warning',
    what: `${excerpt(key, KEY_LENGTH)} is ignored${isPart ? ' in part' : ''}`,
    cause: !isPart && state.isInForce(key) ? `${cause}; its last good value stays in force` : cause,
    fix: 'correct or delete it',
  };
}
