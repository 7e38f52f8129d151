import type { Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';

/** An entry of a node's forwarding table. The longest `dst` wins, then the lowest metric. */
export type Way = { readonly dst: Cidr; readonly metric: number } & (
  | { readonly to: 'here'; readonly dev: string }
  | { readonly to: 'nowhere' }
  /** Default of `dev`: the underlay. */
  | { readonly to: 'device'; readonly dev?: string; readonly via?: Ip }
);

/** A device as a packet meets it. */
export type Port<L> = { readonly name: string; readonly up: boolean; readonly mac?: Mac; readonly link: L };

/** A packet in a tunnel. */
export type Encapsulated<L> = {
  /** The node it is for. */
  readonly dst: Ip;
  /** What the sending device is. */
  readonly by: L;
  /** Of the frame inside, where there is one. */
  readonly mac?: Mac;
};

/** How a packet leaves a device; `delivered`: to a pod of the node. */
export type Departure<L> = { readonly delivered: true } | Encapsulated<L> | { readonly lost: string };

/**
 * Where packets go according to a node's items: each kind of item fills its part, so that a packet's path can
 * be computed.
 */
export class Forwarding {
  readonly ways: Way[] = [];
  /** By name. */
  readonly ports = new Map<string, Port<{ readonly type: string }>>();
  /** MACs of neighbours, by `DEV IP`. */
  readonly macs = new Map<string, Mac>();
  /** The node behind a MAC, by `DEV MAC`. */
  readonly ends = new Map<string, Ip>();
  /** What sets of nftables hold, as text, by `FAMILY TABLE SET`. */
  readonly sets = new Map<string, Set<string>>();
}
