import type { Fields } from '../cluster/fields.ts';
import type { Node, Self } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import type { Family } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import type { Resolve } from '../state/kinds/fdb.ts';

/**
 * How packets for a peer's pods leave this node. Pure: everything a backend does is to say what the kernel
 * should hold. To add one, write a file that exports such an object and name it in `registry.ts`. Anything
 * else it needs (a process, keys) is its companion's business: `CompanionFacts` is the type of what the
 * companion publishes, as `self.companion`.
 */
export type Backend<Options = unknown, CompanionFacts = unknown> = {
  /** As in the configuration's `Backend.Type` and in a lease's BackendType. */
  readonly type: string;
  /**
   * Reads its part of the configuration, and takes from the resources what it needs. Throws CONFIG_INVALID
   * naming the field.
   */
  options(fields: Fields, resources: Resources): Options;
  /** Bytes it adds to each packet, so that pod MTU = underlay MTU − overhead of the largest family in use. */
  overhead(self: Self<CompanionFacts>, options: Options, family: Family): number;
  /** The underlay MTU to use instead of the interface's own, if the configuration names one. */
  underlayMtu?(options: Options): number | undefined;
  /** UDP ports at which nodes decapsulate: pods may not send there. Absent: none. */
  tunnelPorts?(options: Options): readonly number[];
  /**
   * Ports on which nodes talk in their own name, to each other or to routers; pods never do so. Absent: none.
   */
  nodePorts?(options: Options): NodePorts;
  /** Why this node cannot take part in that family; nothing is programmed for it then. */
  refuses?(self: Self<CompanionFacts>, options: Options, family: Family): string | undefined;
  /**
   * What peers must know about this node in that family, published as BackendData; `undefined` if nothing.
   */
  data(self: Self<CompanionFacts>, options: Options, family: Family): unknown;
  /**
   * Devices and their addresses: what does not depend on any peer. `network`: the whole pod network of the
   * family.
   */
  device(self: Self<CompanionFacts>, options: Options, family: Family, network: Cidr): readonly Item[];
  /**
   * What this node needs for every other node, even one with another backend or beyond reach: its address in
   * the set of those that may send, for example. Absent: nothing.
   */
  member?(self: Self<CompanionFacts>, node: Node, options: Options, family: Family): readonly Item[];
  /** What one peer needs. Called again only when peer or self change. */
  peer(self: Self<CompanionFacts>, peer: Node, options: Options, family: Family): PeerItems;
  /**
   * For backends whose devices ask instead of being told: answers them from all nodes' facts. Absent: nothing
   * is answered.
   */
  resolver?(nodes: readonly Node[], options: Options): Resolve | undefined;
};

export type NodePorts = { readonly tcp: readonly number[]; readonly udp: readonly number[] };

/** `warning`: why the peer cannot be reached in this family, when it cannot. */
export type PeerItems = { readonly items: readonly Item[]; readonly warning?: string };
