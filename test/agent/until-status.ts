import assert from 'node:assert/strict';
import type { AgentStatus } from '../../src/agent/status.ts';
import { agentStatus } from '../../src/lab/machine/agent.ts';
import { problemText } from '../../src/problem.ts';
import { eventually } from '../store/servers.ts';
import type { Cluster, TestNode } from './cluster.ts';

const PATIENCE = 20_000;

/** Waits until the node's status, with its problems as lines of text, is as wanted. */
export async function untilStatus(
  { lab }: Pick<Cluster, 'lab'>,
  node: Pick<TestNode, 'name'>,
  holds: (status: AgentStatus, problems: string) => boolean,
): Promise<AgentStatus> {
  let last: AgentStatus | undefined;
  try {
    return await eventually(async () => {
      last = await agentStatus(lab, node.name);
      return last && holds(last, last.problems.map(problemText).join('\n')) && last;
    }, PATIENCE);
  } catch {
    return assert.fail(`${node.name} says: ${JSON.stringify(last, null, 1).slice(0, 3000)}`);
  }
}
