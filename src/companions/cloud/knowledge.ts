import type { Node } from '../../cluster/node.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Log } from '../../log.ts';
import type { Origin } from './cloud.ts';
import { Memory, type Remembered } from './memory.ts';
import { isAt, type Place } from './plan.ts';

/**
 * What this node knows of the routes that it has made, and of the other nodes' subnets; those of nodes that
 * have left are known until their routes are seen to be gone. On disk, for agents that follow.
 */
export class Knowledge {
  readonly #memory: Memory;
  readonly #departed = new Map<Cidr, readonly string[]>();
  #remembered: Remembered;

  constructor(folder: string, log: Log) {
    this.#memory = new Memory(folder);
    this.#remembered = this.#memory.read(log);
  }

  /** The routes that this node has made. */
  get made(): readonly Place[] {
    return this.#remembered.made;
  }

  /** The subnets whose routes were last seen to lead here. */
  get confirmed(): readonly Cidr[] {
    return this.#remembered.confirmed;
  }

  /** The subnets of nodes that are gone, with those nodes' addresses. */
  get departed(): ReadonlyMap<Cidr, readonly string[]> {
    return this.#departed;
  }

  /** Notes who has which subnet. Returns whether more nodes are gone than before. */
  note(others: readonly Node[]): boolean {
    const held = new Map(
      others.flatMap((node) => node.subnets.map((subnet) => [subnet, addressesOf(node)] as const)),
    );
    const before = this.#departed.size;
    for (const [subnet, addresses] of this.#remembered.others)
      if (!held.has(subnet)) this.#departed.set(subnet, addresses);
    for (const subnet of held.keys()) this.#departed.delete(subnet);
    this.#remembered = { ...this.#remembered, others: held };
    return this.#departed.size > before;
  }

  /** Before the routes are made, so that they are removed one day. */
  willMake(places: readonly Place[], origin: Origin): void {
    const { made } = this.#remembered;
    const isNew = (place: Place): boolean => !made.some((each) => isAt(each, place));
    this.#remember({ made: [...made, ...places.filter(isNew).map(placeOf)], origin });
  }

  /** The routes as they were seen. */
  confirm(made: readonly Place[], confirmed: readonly Cidr[]): void {
    this.#remember({ made, confirmed });
  }

  /** Their routes are gone. */
  forget(departed: Iterable<Cidr>): void {
    for (const subnet of departed) this.#departed.delete(subnet);
  }

  #remember(changes: Partial<Remembered>): void {
    this.#remembered = { ...this.#remembered, ...changes };
    const { others } = this.#remembered;
    this.#memory.write({ ...this.#remembered, others: new Map([...this.#departed, ...others]) });
  }
}

/** All that is known: a route's end has private ones, where a node may have published a public one. */
export function addressesOf({ addresses, senders = [] }: Node): readonly Ip[] {
  return [...Object.values(addresses), ...senders];
}

/** Without what else is known of a route there. */
export function placeOf({ table, destination }: Place): Place {
  return { table, destination };
}
