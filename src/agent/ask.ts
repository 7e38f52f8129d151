import type { CompanionOperations } from '../companions/registry.ts';
import { ask } from './api/client.ts';
import type { AgentOperations } from './operations.ts';

/** All operations of the local API, with their answers. */
export type Operations = AgentOperations & CompanionOperations;

/** An operation with its arguments. */
export type Request<Op extends keyof Operations = keyof Operations> = {
  readonly op: Op;
  readonly [argument: string]: unknown;
};

/** Asks the agent behind this socket for one operation. Throws the errors of `ask`. */
export async function askAgent<Op extends keyof Operations>(
  socketPath: string,
  request: Request<Op>,
  timeoutMs?: number,
  fix?: string,
): Promise<Operations[Op]> {
  // The agent's handlers have the same types; its answer is that of the same release, or a compatible one.
  return (await ask(socketPath, request, timeoutMs, fix)) as Operations[Op];
}
