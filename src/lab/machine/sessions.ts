import { askAgent } from '../../agent/ask.ts';
import type { AgentStatus } from '../../agent/status.ts';
import { pause } from '../../async/pause.ts';
import type { Sessions } from '../../companions/companion.ts';
import { COMPANIONS, type WithSessions } from '../../companions/registry.ts';
import { FlatnetError } from '../../error.ts';
import { type Lab, labFlag, readState } from '../record/lab.ts';
import { agentStatus } from './agent.ts';

/**
 * Longest wait for the next node to get all its sessions, in milliseconds: a mesh of a hundred takes minutes
 * on two processors.
 */
const PATIENCE = 180_000;

/** How the nodes of this lab are connected, if by sessions: with BGP, for one. */
export function sessionsOfLab(lab: Lab): WithSessions | undefined {
  return COMPANIONS.find(({ backend }) => backend === lab.network.backend.type)?.sessions;
}

/**
 * Returns undefined if the agent or the program that holds the sessions does not answer, or for a network
 * without sessions.
 */
export async function sessionsOfNode(lab: Lab, name: string): Promise<Sessions | undefined> {
  const socket = lab.paths.node(name).agentSocket;
  try {
    return await sessionsOfLab(lab)?.read((op) => askAgent(socket, { op }));
  } catch (error) {
    if (error instanceof FlatnetError) return undefined;
    throw error;
  }
}

/**
 * Resolves when these nodes know all others and all their sessions are up; at once for a network without
 * sessions. Throws TIMEOUT naming a missing session.
 */
export async function sessionsEstablished(
  lab: Lab,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const wanted = sessionsOfLab(lab);
  if (!wanted) return;
  let deadline = performance.now() + PATIENCE;
  const waiting = new Set(names);
  let reason = '';
  for (;;) {
    for (const name of waiting) {
      signal?.throwIfAborted();
      const [status, sessions] = await Promise.all([agentStatus(lab, name), sessionsOfNode(lab, name)]);
      const lack = lacking(status, sessions, otherNodes(lab), wanted);
      if (lack === undefined) {
        waiting.delete(name);
        deadline = performance.now() + PATIENCE;
      } else reason = `${name}: ${lack}`;
    }
    if (waiting.size === 0) return;
    if (performance.now() > deadline) {
      throw new FlatnetError(
        `${wanted.name} sessions are missing, and none came up for ${PATIENCE / 1000} s: ${reason}`,
        {
          code: 'TIMEOUT',
          operation: 'lab up',
          object: `lab ${lab.name}`,
          fix: `see flatnet lab status${labFlag(lab.name)} (after a failed up only with --keep)`,
        },
      );
    }
    await pause(50, signal);
  }
}

/** How many nodes each should know. Other commands may add or delete some meanwhile. */
function otherNodes(lab: Lab): number {
  return (readState(lab.name) ?? lab).nodes.length - 1;
}

/** Describes what a node is still waiting for; undefined if nothing. */
function lacking(
  status: AgentStatus | undefined,
  sessions: Sessions | undefined,
  others: number,
  { program }: WithSessions,
): string | undefined {
  if (!status) return 'the agent does not answer';
  if (status.peers < others) return 'does not know all nodes';
  return sessions ? sessions.missing[0] : `${program} does not answer`;
}
