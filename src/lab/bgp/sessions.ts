import { askAgent } from '../../agent/ask.ts';
import type { AgentStatus } from '../../agent/status.ts';
import { pause } from '../../async/pause.ts';
import type { SessionStatus } from '../../companions/bird/status/status.ts';
import { FlatnetError } from '../../error.ts';
import { agentStatus } from '../machine/agent.ts';
import type { Lab } from '../record/lab.ts';

/**
 * Longest wait for the next node to get all its sessions, in milliseconds: a mesh of a hundred takes minutes
 * on two processors.
 */
const PATIENCE = 180_000;

/** A node's BGP sessions: how many are established, of how many expected. */
export type Sessions = {
  readonly established: number;
  readonly expected: number;
  /** The missing sessions, as text. */
  readonly missing: readonly string[];
};

/** Returns undefined if the agent or BIRD does not answer, or without BGP. */
export async function sessionsOfNode(lab: Lab, name: string): Promise<Sessions | undefined> {
  if (lab.network.backend.type !== 'bgp') return undefined;
  try {
    const { sessions } = await askAgent(lab.paths.node(name).agentSocket, { op: 'bgp-status' });
    const missing = sessions.filter((each) => !isEstablished(each));
    return {
      established: sessions.length - missing.length,
      expected: sessions.length,
      missing: missing.map(({ node, address, info, state }) =>
        [node && `${node},`, `${address}:`, info || state].filter(Boolean).join(' '),
      ),
    };
  } catch (error) {
    if (error instanceof FlatnetError) return undefined;
    throw error;
  }
}

/**
 * Resolves when these nodes know all others and all their sessions are up; at once without BGP. Throws
 * TIMEOUT naming a missing session.
 */
export async function sessionsEstablished(
  lab: Lab,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if (lab.network.backend.type !== 'bgp') return;
  let deadline = performance.now() + PATIENCE;
  const waiting = new Set(names);
  let reason = '';
  for (;;) {
    for (const name of waiting) {
      signal?.throwIfAborted();
      const [status, sessions] = await Promise.all([agentStatus(lab, name), sessionsOfNode(lab, name)]);
      const lack = lacking(status, sessions, lab.nodes.length - 1);
      if (lack === undefined) {
        waiting.delete(name);
        deadline = performance.now() + PATIENCE;
      } else reason = `${name}: ${lack}`;
    }
    if (waiting.size === 0) return;
    if (performance.now() > deadline) {
      throw new FlatnetError(
        `BGP sessions are missing, and none came up for ${PATIENCE / 1000} s: ${reason}`,
        {
          code: 'TIMEOUT',
          operation: 'lab up',
          object: `lab ${lab.name}`,
          fix: `see flatnet bgp status --lab ${lab.name} (after a failed up only with --keep)`,
        },
      );
    }
    await pause(50, signal);
  }
}

/** Describes what a node is still waiting for; undefined if nothing. */
function lacking(
  status: AgentStatus | undefined,
  sessions: Sessions | undefined,
  others: number,
): string | undefined {
  if (!status) return 'the agent does not answer';
  if (status.peers < others) return 'does not know all nodes';
  return sessions ? sessions.missing[0] : 'BIRD does not answer';
}

function isEstablished({ state, info }: SessionStatus): boolean {
  return state === 'up' && info.startsWith('Established');
}
