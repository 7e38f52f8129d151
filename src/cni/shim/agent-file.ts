/**
 * In the CNI bin folder: where to find this node's agent, for shim.c and for calls whose configuration does
 * not say.
 */
export const AGENT_FILE = 'flatnet.json';

/**
 * Contents of the file; the agent's own conflist has them too. shim.c expects `socket` first, on one line.
 */
export type AgentPlace = {
  /** The agent's unix socket. */
  readonly socket: string;
  /** Where DELs are noted while the agent is away. */
  readonly stateDir: string;
};
