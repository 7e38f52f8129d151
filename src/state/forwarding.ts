import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { Encapsulation } from '../linux/encapsulation.ts';

/** An entry of a node's forwarding table. The longest `dst` wins, then the lowest metric. */
export type FibEntry = { readonly dst: Cidr; readonly metric: number } & (
  | { readonly to: 'here'; readonly dev: string }
  | { readonly to: 'nowhere' }
  /** Default of `dev`: the underlay. */
  | {
      readonly to: 'device';
      readonly dev?: string;
      readonly via?: Ip;
      readonly encapsulation?: Encapsulation;
    }
);

/** A device, as relevant to a packet. */
export type Port<L> = { readonly name: string; readonly up: boolean; readonly mac?: Mac; readonly link: L };

/** A tunnelled packet. */
export type Encapsulated<L> = {
  /** Outer destination: the receiving node's address. */
  readonly dst: Ip;
  /** The sending device. */
  readonly by: L;
  /** Destination MAC of the inner frame, if any. */
  readonly mac?: Mac;
};

/** How a packet leaves a device. `delivered`: to a pod of the node. */
export type Departure<L> = { readonly delivered: true } | Encapsulated<L> | { readonly lost: string };

/**
 * A node's forwarding tables according to its items, for computing a packet's path. Each kind of item adds
 * its part.
 */
export class Forwarding {
  readonly fib: FibEntry[] = [];
  /** By name. */
  readonly ports = new Map<string, Port<{ readonly type: string }>>();
  /** MACs of neighbours, by `DEV IP`. */
  readonly macs = new Map<string, Mac>();
  /** The tunnel endpoint behind a MAC, by `DEV MAC`. */
  readonly ends = new Map<string, Ip>();
  /** Elements of nftables sets, as text, by `FAMILY TABLE SET`. */
  readonly sets = new Map<string, Set<string>>();
}
