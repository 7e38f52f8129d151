import { setTimeout as sleep } from 'node:timers/promises';
import { askAgent } from '../agent/client.ts';
import type { BgpStatus, SessionStatus } from '../bgp/status.ts';
import { FlatnetError } from '../error.ts';
import { agentStatus } from './agent-process.ts';
import type { Lab } from './lab.ts';

/** As long as agents may take to start. */
const PATIENCE = 180_000;

/** A node's BGP sessions: those that are up, of those it should have. */
export type Sessions = {
  readonly established: number;
  readonly expected: number;
  /** Those that are not up, in words. */
  readonly missing: readonly string[];
};

/** Undefined when the agent, or BIRD, does not answer, and where there is no BGP. */
export async function sessionsOfNode(lab: Lab, name: string): Promise<Sessions | undefined> {
  if (lab.network.backend.type !== 'bgp') return undefined;
  try {
    const { sessions } = await askAgent<BgpStatus>(lab.paths.node(name).agentSocket, { op: 'bgp-status' });
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
 * Resolves when these nodes know all others and have every session they should have; at once where there is no BGP. Throws TIMEOUT saying
 * what is missing.
 */
export async function sessionsEstablished(
  lab: Lab,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if (lab.network.backend.type !== 'bgp') return;
  const deadline = performance.now() + PATIENCE;
  const waiting = new Set(names);
  let reason = '';
  for (;;) {
    for (const name of waiting) {
      signal?.throwIfAborted();
      const [status, sessions] = await Promise.all([agentStatus(lab, name), sessionsOfNode(lab, name)]);
      const alone = (status?.peers ?? 0) < lab.nodes.length - 1;
      if (!alone && sessions && sessions.missing.length === 0) waiting.delete(name);
      else
        reason = `${name}: ${alone ? 'does not know all nodes' : (sessions?.missing[0] ?? 'BIRD does not answer')}`;
    }
    if (waiting.size === 0) return;
    if (performance.now() > deadline) {
      throw new FlatnetError(`BGP sessions are missing after ${PATIENCE / 1000} s: ${reason}`, {
        code: 'TIMEOUT',
        operation: 'lab up',
        object: `lab ${lab.name}`,
        fix: `see flatnet bgp status --lab ${lab.name} (after a failed up only with --keep)`,
      });
    }
    await sleep(50);
  }
}

function isEstablished({ state, info }: SessionStatus): boolean {
  return state === 'up' && info.startsWith('Established');
}
