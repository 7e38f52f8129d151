import type { Family, Ip } from '../ip/address.ts';

/**
 * `lossy`: some packets are lost. `narrow`: those of the pods' full size are. `blocked`: the host is there,
 * but packets to its pods are not let through. `down`: nothing answers. `untested`: there is no way to know.
 */
export type PathState = 'well' | 'lossy' | 'narrow' | 'blocked' | 'down' | 'untested';

/** What one probe says about the way to one peer's pods. */
export type PathReport = {
  readonly peer: string;
  readonly family: Family;
  readonly state: PathState;
  /** The peer's address on the underlay. */
  readonly host?: Ip;
  /** What carries the packets there: `UDP 8472`. */
  readonly carrier?: string;
  /** Bytes of the largest packet between pods that passes. */
  readonly mtu?: number;
  /** Of all packets that were sent: 0 to 1. */
  readonly loss?: number;
  /** Types of other backends whose packets the peer answered. Absent: not tried. */
  readonly others?: readonly string[];
  /** Unless it is well: what is wrong or unknown, why, and what to do. */
  readonly what?: string;
  readonly cause?: string;
  readonly fix?: string;
};

/** Whether pods notice. */
export function isBroken({ state }: Pick<PathReport, 'state'>): boolean {
  return state !== 'well' && state !== 'untested';
}
