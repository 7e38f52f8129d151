import type { PerFamily } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Problem } from '../../problem.ts';

/** A route of the cloud's own routers. */
export type CloudRoute = {
  /** The table or network that it is in. */
  readonly table: string;
  readonly destination: Cidr;
  /** Where the cloud knows it by a name of its own. */
  readonly name?: string;
  /** What distinguishes it from a later one of that name. */
  readonly id?: string;
  /** Where it leads, in the cloud's words, such as `eni-…`. */
  readonly target: string;
  /** To this instance, to something else, or to an instance that there is no more. */
  readonly leads: 'here' | 'elsewhere' | 'nowhere';
};

/** What is known of this instance. */
export type Inspection = {
  /** The tables its routes belong into. */
  readonly tables: readonly string[];
  /** Why its pods' packets are lost nevertheless. */
  readonly problems: readonly Problem[];
};

/**
 * A cloud's routes, as seen from one of its instances. Every method throws a FlatnetError for people, with
 * the permission that is missing, or the field that is wrong.
 */
export interface Cloud extends Disposable {
  /** Finds this instance and its tables, and lets it forward packets. Called before anything else. */
  inspect(): Promise<Inspection>;
  /** The routes of these tables inside these networks. A table that is gone has none. */
  routes(tables: readonly string[], within: readonly Cidr[]): Promise<readonly CloudRoute[]>;
  /**
   * The addresses of what a route leads to, public ones included: none if it is no instance, undefined if it
   * is gone.
   */
  addressesAt(route: CloudRoute): Promise<readonly string[] | undefined>;
  /** Makes a route to this instance. */
  add(table: string, destination: Cidr): Promise<void>;
  /** Makes it lead to this instance. */
  replace(route: CloudRoute): Promise<void>;
  /** Not one that has taken its place, where the cloud can tell. One that is gone already is no error. */
  remove(route: CloudRoute): Promise<void>;
  /** The command by which a person removes it. */
  removal(route: CloudRoute): string;
}

/** What a node's place in a cloud follows from. */
export type Origin = {
  /** The backend's part of the configuration. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Of the interface that carries packets between nodes. */
  readonly addresses: PerFamily<Ip>;
};

/** Opens the cloud; asks it nothing yet. Throws CONFIG_INVALID. Requests end when `signal` aborts. */
export type OpenCloud = (origin: Origin, signal: AbortSignal) => Promise<Cloud>;
