import type { Problem } from '../problem.ts';
import type { AgentStatus } from './status.ts';

/** What agents answered before problems had a type. */
type OlderStatus = Omit<AgentStatus, 'problems'> & {
  readonly problems?: AgentStatus['problems'];
  readonly warnings?: readonly string[];
};

/**
 * The answer of an agent of any release in today's shape: during an upgrade, the command line is newer than
 * the agents that still run.
 */
export function currentStatus(answer: OlderStatus): AgentStatus {
  const { problems, warnings = [], ...status } = answer;
  if (problems) return { ...status, problems };
  const { notReady = '', reconcile } = status;
  const lines = [...reconcile.failures.filter((text) => !notReady.includes(text)), ...warnings];
  return { ...status, problems: lines.map(untyped) };
}

function untyped(what: string): Problem {
  const fix = 'restart the agent to learn more: it is of an older release';
  return { id: 'older-agent', severity: 'warning', what, fix };
}
