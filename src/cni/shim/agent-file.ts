/**
 * A file in the CNI bin directory that tells shim.c, and calls whose configuration does not name it, where
 * this node's agent is.
 */
export const AGENT_FILE = 'flatnet.json';

/**
 * Contents of the file, also part of the agent's own conflist. shim.c expects `socket` first, on one line.
 */
export type AgentPlace = {
  /** The agent's unix socket. */
  readonly socket: string;
  /** Directory in which DELs are noted while the agent is unavailable. */
  readonly stateDir: string;
};

/** Bytes of a configuration that are passed to the agent; real ones have a few KB. */
export const MAX_CONFIGURATION = 2 * 1024 * 1024;
