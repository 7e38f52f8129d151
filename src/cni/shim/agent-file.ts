/** In the CNI bin folder: where the agent of this node is, for calls whose configuration does not say. */
export const AGENT_FILE = 'flatnet.json';

/** What the file holds, and the agent's own conflist too. */
export type AgentPlace = {
  /** The agent's unix socket. */
  readonly socket: string;
  /** Where DELs are noted while the agent is away. */
  readonly stateDir: string;
};
