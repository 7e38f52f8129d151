import { type Ip, ipFromBigInt } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Range } from '../../linux/nftables/values/field.ts';
import type { Entity, NamedPort, NetworkSetEntity } from '../model/entity.ts';
import { portsOf } from '../model/evaluate.ts';
import { isNamed, type NameMatcher } from '../model/matcher.ts';
import type { Questions } from './matchers.ts';
import type { Selection } from './selection.ts';
import { type Part, Surroundings } from './surroundings.ts';

/** What is known of addresses. */
export type Directory = {
  readonly entities: readonly Entity[];
  /** The names that DNS has given addresses for. */
  readonly names: ReadonlyMap<Ip, readonly string[]>;
};

/** What an address is: which conditions hold for it, and which ports its names stand for. */
export type Traits = {
  readonly key: string;
  /** Texts of matchers. */
  readonly are: ReadonlySet<string>;
  readonly ports: readonly NamedPort[];
};

export type Identified<T> = {
  /** Addresses whose identity differs from that of their surroundings. */
  readonly addresses: ReadonlyMap<Ip, T>;
  /** Disjoint ranges, in order; elsewhere are strangers. */
  readonly ranges: readonly { readonly range: Range<Ip>; readonly identity: T }[];
  readonly stranger: T;
  /** By which each is known, whatever it is at the moment: the least of its traits' keys. */
  readonly names: ReadonlyMap<T, string>;
};

/** An identity, and the key of the traits that make it. */
type Made<T> = { readonly key: string; readonly identity: T };

/** Tells addresses apart by their traits, as far as `make` makes a difference between these. */
export class Identities<T extends { readonly key: string }> {
  readonly #questions: Questions;
  readonly #nameMatchers: readonly NameMatcher[];
  readonly #selection: Selection;
  readonly #make: (traits: Traits) => T;
  readonly #byTraits = new Map<string, Made<T>>();
  readonly #byKey = new Map<string, T>();
  /** Of entities whose addresses are nobody else's, and in no network. */
  readonly #alone = new WeakMap<Entity, Made<T>>();
  readonly #places = new WeakMap<ReadonlySet<string>, Made<T>>();
  #around: { readonly sets: readonly NetworkSetEntity[]; readonly are: Surroundings } | undefined;

  /** Equal keys of what `make` returns mean the same identity. */
  constructor(questions: Questions, selection: Selection, make: (traits: Traits) => T) {
    this.#questions = questions;
    this.#nameMatchers = [...questions.matchers.values()].filter((each) => each.kind === 'names');
    this.#selection = selection;
    this.#make = make;
  }

  /** Of what no selector, network or name tells apart from the rest of the world. */
  get stranger(): T {
    return this.#intern(new Set(), []).identity;
  }

  /**
   * `grouping`: says of all that were found which are to count as one. `weigh`: is told of each identity when
   * it is found first, and may throw where there are too many.
   */
  identify(
    { entities, names }: Directory,
    grouping: (all: ReadonlySet<T>) => (one: T) => T,
    weigh: (one: T) => void,
  ): Identified<T> {
    const all = new Set<Made<T>>();
    const noted = (made: Made<T>): Made<T> => {
      if (!all.has(made)) weigh(made.identity);
      all.add(made);
      return made;
    };
    const around = this.#surroundings(entities);
    const owners = ownersOf(entities);
    const found = new Map<Ip, { readonly own: Made<T>; readonly place: T }>();
    for (const ip of new Set([...owners.keys(), ...names.keys()])) {
      const place = around.at(ip);
      const own = noted(this.#identity(owners.get(ip) ?? [], place, names.get(ip) ?? []));
      found.set(ip, { own, place: this.#ofPlace(place).identity });
    }
    const parts = around.parts.map((part) => ({ part, made: noted(this.#ofPlace(part.texts)) }));
    const one = grouping(new Set([this.stranger, ...[...all].map(({ identity }) => identity)]));
    const addresses = new Map<Ip, T>();
    for (const [ip, { own, place }] of found)
      if (one(own.identity) !== one(place)) addresses.set(ip, one(own.identity));
    const grouped = parts.map(({ part, made }) => ({ ...part, identity: one(made.identity) }));
    const stranger = one(this.stranger);
    return { addresses, ranges: joined(grouped, stranger), stranger, names: namesOf(all, one) };
  }

  /** The identity of an address that is one entity's alone; of the others, network sets may be around it. */
  of(ip: Ip, owner: Entity, others: readonly Entity[]): T {
    return this.#identity([owner], this.#surroundings(others).at(ip), []).identity;
  }

  #identity(own: readonly Entity[], place: ReadonlySet<string>, names: readonly string[]): Made<T> {
    const [owner] = own;
    const isAlone = owner !== undefined && own.length === 1 && place.size === 0 && names.length === 0;
    const known = isAlone ? this.#alone.get(owner) : undefined;
    if (known) return known;
    const are = new Set(place);
    for (const entity of own) for (const text of this.#selection.of(entity)) are.add(text);
    for (const matcher of names.length > 0 ? this.#nameMatchers : [])
      if (isNamed(names, matcher)) are.add(matcher.text);
    const ports = portsOf({ entities: own }).filter(({ name }) => this.#questions.portNames.has(name));
    const identity = this.#intern(are, ports);
    if (isAlone) this.#alone.set(owner, identity);
    return identity;
  }

  #ofPlace(place: ReadonlySet<string>): Made<T> {
    const known = this.#places.get(place) ?? this.#intern(place, []);
    this.#places.set(place, known);
    return known;
  }

  #intern(are: ReadonlySet<string>, ports: Traits['ports']): Made<T> {
    const key = [...[...are].sort(), ...portTexts(ports)].join('\n');
    const known = this.#byTraits.get(key);
    if (known) return known;
    const own = this.#make({ key, are, ports });
    const made = { key, identity: this.#byKey.get(own.key) ?? own };
    this.#byKey.set(own.key, made.identity);
    this.#byTraits.set(key, made);
    return made;
  }

  /** What holds in the networks of conditions, and of the sets that are selected. */
  #surroundings(entities: readonly Entity[]): Surroundings {
    const sets = entities.filter((entity) => entity.kind === 'network-set');
    const last = this.#around;
    if (last?.sets.length === sets.length && sets.every((set, i) => set === last.sets[i])) return last.are;
    const texts = new Map<Cidr, string[]>();
    const add = (nets: readonly Cidr[], more: readonly string[]): void => {
      for (const net of more.length > 0 ? nets : []) {
        const known = texts.get(net) ?? [];
        texts.set(net, known);
        for (const text of more) known.push(text);
      }
    };
    for (const matcher of this.#questions.matchers.values())
      if (matcher.kind === 'nets') add(matcher.nets, [matcher.text]);
    for (const set of sets) add(set.nets, this.#selection.of(set));
    this.#around = { sets, are: new Surroundings(texts) };
    return this.#around.are;
  }
}

/** Sorted: the same for the same ports. */
export function portTexts(ports: readonly NamedPort[]): readonly string[] {
  return ports.map(({ name, protocol, port }) => `port ${name} ${protocol}/${port}`).sort();
}

function namesOf<T>(all: Iterable<Made<T>>, one: (identity: T) => T): ReadonlyMap<T, string> {
  const names = new Map<T, string>();
  for (const { key, identity } of all) {
    const known = names.get(one(identity));
    if (known === undefined || key < known) names.set(one(identity), key);
  }
  return names;
}

/** Whose an address is. */
function ownersOf(entities: readonly Entity[]): Map<Ip, Entity[]> {
  const owners = new Map<Ip, Entity[]>();
  for (const entity of entities) {
    if (entity.kind === 'network-set') continue;
    for (const ip of entity.addresses) {
      const all = owners.get(ip);
      if (all) all.push(entity);
      else owners.set(ip, [entity]);
    }
  }
  return owners;
}

type Placed<T> = Pick<Part, 'family' | 'from' | 'to'> & { readonly identity: T };

/** Neighbouring parts of one identity as one range, without strangers. */
function joined<T>(parts: readonly Placed<T>[], stranger: T): Identified<T>['ranges'] {
  const ranges: Placed<T>[] = [];
  for (const part of parts) {
    const before = ranges.at(-1);
    if (before?.family === part.family && before.identity === part.identity && before.to + 1n === part.from)
      ranges[ranges.length - 1] = { ...before, to: part.to };
    else if (part.identity !== stranger) ranges.push(part);
  }
  return ranges.map(({ family, from, to, identity }) => ({
    range: { first: ipFromBigInt(family, from), last: ipFromBigInt(family, to) },
    identity,
  }));
}
