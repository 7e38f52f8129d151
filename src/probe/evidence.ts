import type { Ip } from '../ip/address.ts';

/** Packets of one size. */
export type Tally = { readonly sent: number; readonly answered: number };

/** Echo requests with DF to one address: small ones, and of the full size. */
export type Echoes = {
  readonly small: Tally;
  readonly full: Tally;
  /** Why this host could not send some of them: an errno, such as EPERM or ENETUNREACH. */
  readonly refusal?: string;
};

/**
 * What came back for a lone packet of a tunnel's protocol. `nothing`: it was lost, or someone received it in
 * silence. `refused`: this host's own firewall dropped it.
 */
export type Answer =
  | 'nothing'
  | 'refused'
  /** The host has it, and nobody there wants it; or it says so instead of a firewall. */
  | { readonly unwanted: Ip }
  /** A firewall, there or on the way, forbids it. */
  | { readonly forbidden: Ip };

/** What one probe has found out. What was not asked is absent. */
export type Evidence = {
  /** From inside this node to the address inside the peer. */
  readonly path?: Echoes;
  /** Bytes of the largest packet that passes there, if full ones do not. */
  readonly pathMtu?: number;
  /** To the peer's address on the underlay, without the tunnel. */
  readonly host?: Echoes;
  /** Bytes of the largest packet that passes there. */
  readonly hostMtu?: number;
  /** No machine on the link has the peer's address. */
  readonly isAbsent?: boolean;
  readonly carrier?: Answer;
  /** The peer's kernel answered for a packet to its pods, although not from inside. */
  readonly hasArrived?: boolean;
  /** Types of backends whose packets the peer answered. */
  readonly others?: readonly string[];
};

/** Of all packets that were sent: 0 to 1. */
export function lossOf({ small, full }: Echoes): number {
  const sent = small.sent + full.sent;
  return sent === 0 ? 0 : 1 - (small.answered + full.answered) / sent;
}
