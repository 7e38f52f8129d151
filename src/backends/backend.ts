import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Family, Ip } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import type { Resolve } from '../state/kinds/fdb.ts';

/**
 * How packets for a peer's pods leave this node. Pure: a backend only computes what the kernel should hold.
 * To add one, export such an object from its own file and list it in `registry.ts`. Its companion takes
 * care of anything else it needs (a process, keys); `CompanionFacts` is the type of the facts in
 * `self.companion`.
 */
export type Backend<Options = unknown, CompanionFacts = unknown> = {
  /** As in the configuration's `Backend.Type` and in a lease's BackendType. */
  readonly type: string;
  /** Other names under which nodes with this backend are known. Absent: none. */
  readonly alsoNamed?: readonly string[];
  /**
   * Reads its options from its part of the configuration and from the resources. Throws CONFIG_INVALID naming
   * the field.
   */
  options(fields: Fields, resources: Resources): Options;
  /** Bytes it adds to each packet: pod MTU = underlay MTU − overhead of the largest family in use. */
  overhead(self: Self<CompanionFacts>, options: Options, family: Family): number;
  /** The underlay MTU to use instead of the interface's own, if the configuration names one. */
  underlayMtu?(options: Options): number | undefined;
  /** What nodes decapsulate, so that pods must not send it. Absent: nothing. */
  decapsulates?(options: Options): Decapsulated;
  /** Ports on which only nodes themselves talk, to each other or to routers, never pods. Absent: none. */
  nodePorts?(options: Options): NodePorts;
  /** Returns why this node cannot take part in that family; nothing is then programmed for it. */
  refuses?(self: Self<CompanionFacts>, options: Options, family: Family): string | undefined;
  /**
   * Returns what peers need to know about this node in that family, published as BackendData; undefined for
   * nothing.
   */
  data(self: Self<CompanionFacts>, options: Options, family: Family): unknown;
  /**
   * Returns the items that don't depend on any peer: devices and their addresses. After a change of the
   * backend they remain until no node sends to them any more; peers' items go earlier, except elements of
   * sets. `network`: the whole pod network of the family.
   */
  device(self: Self<CompanionFacts>, options: Options, family: Family, network: Cidr): readonly Item[];
  /**
   * Returns the items for every other node, even an unreachable one or one with a different backend: elements
   * of sets, such as its address among the permitted senders. Absent: none.
   */
  member?(self: Self<CompanionFacts>, node: Node, options: Options, family: Family): readonly Item[];
  /** Returns the items for one peer. Called again only when peer or self change. */
  peer(self: Self<CompanionFacts>, peer: Node, options: Options, family: Family): PeerItems;
  /**
   * Returns how packets to a peer's pods travel, for the self-test; undefined where there is no way in this
   * family. Absent: something else carries them, and there is nothing to test.
   */
  path?(self: Self<CompanionFacts>, peer: Node, options: Options, family: Family): Path | undefined;
  /**
   * Returns the resolver that answers the kernel's lookup misses from all nodes' facts, for devices that are
   * programmed on demand. Absent: misses are not answered.
   */
  resolver?(nodes: readonly Node[], options: Options): Resolve | undefined;
};

export type Path = {
  /** What the underlay sees of them. */
  readonly carrier: Carrier;
  /**
   * An address of the peer's subnets that its kernel itself answers. Absent: at most the wiring gives it one.
   */
  readonly target?: Ip;
};

/** A tunnel, by its UDP port or its number among IP protocols; or `routes`: pods' packets as they are. */
export type Carrier = 'routes' | { readonly udp: number } | { readonly protocol: number };

export type NodePorts = { readonly tcp: readonly number[]; readonly udp: readonly number[] };

/** `warning`: why the peer cannot be reached in this family, when it cannot. */
export type PeerItems = { readonly items: readonly Item[]; readonly warning?: string };

/** UDP ports, and IP protocols by number: 41 (6in4), 47 (GRE), 50 (ESP). */
export type Decapsulated = { readonly udp?: readonly number[]; readonly protocols?: readonly number[] };
