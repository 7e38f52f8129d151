/** A node of the lab. */
export type LabNode = {
  readonly name: string;
  /** Counted from 1; its addresses follow from it. */
  readonly index: number;
  /** Of the underlay, counted from 0. */
  readonly subnet: number;
};

/**
 * How a lab's nodes find their BGP peers; with neither, every node peers with every other (the node-to-node
 * mesh).
 */
export type BgpTopology = {
  /** How many nodes, counted from the first, are route reflectors. */
  readonly reflectors?: number;
  /** The program that is the top-of-rack router of every underlay subnet. */
  readonly tor?: TorProgram;
};

export const TOR_PROGRAMS = ['bird', 'frr'] as const;
export type TorProgram = (typeof TOR_PROGRAMS)[number];
