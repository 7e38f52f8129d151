/** A node of the lab. */
export type LabNode = {
  readonly name: string;
  /** Numbered from 1; determines the node's addresses. */
  readonly index: number;
  /** The node's underlay subnet, numbered from 0. */
  readonly subnet: number;
};

/**
 * The BGP topology of a lab; with neither, every node peers with every other (the node-to-node mesh).
 */
export type BgpTopology = {
  /** The number of route reflectors; the first nodes are reflectors. */
  readonly reflectors?: number;
  /** The program that runs as the top-of-rack router of every underlay subnet. */
  readonly tor?: TorProgram;
};

export const TOR_PROGRAMS = ['bird', 'frr'] as const;
export type TorProgram = (typeof TOR_PROGRAMS)[number];
