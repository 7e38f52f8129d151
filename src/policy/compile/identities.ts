import { type Ip, ipFromBigInt } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Range } from '../../linux/nftables/values/field.ts';
import type { Entity, NetworkSetEntity } from '../model/entity.ts';
import { portsOf } from '../model/evaluate.ts';
import { isNamed } from '../model/matcher.ts';
import type { Identity } from './decisions.ts';
import type { Questions } from './matchers.ts';
import { type Part, Surroundings } from './surroundings.ts';

/** What is known of addresses. */
export type Directory = {
  readonly entities: readonly Entity[];
  /** The names that DNS has given addresses for. */
  readonly names: ReadonlyMap<Ip, readonly string[]>;
};

/** Of what no selector, network or name tells apart from the rest of the world. */
export const STRANGER: Identity = { key: '', are: new Set(), ports: [] };

export type Identified = {
  /** Addresses whose identity differs from that of their surroundings. */
  readonly addresses: ReadonlyMap<Ip, Identity>;
  /** Disjoint ranges, in order; elsewhere are strangers. */
  readonly ranges: readonly { readonly range: Range<Ip>; readonly identity: Identity }[];
};

/**
 * Tells addresses apart as far as the rules do, and no further: pods between which no rule makes a
 * difference share an identity. What is found of an entity is remembered as long as it is the same object.
 */
export class Identities {
  readonly #questions: Questions;
  readonly #identities = new Map<string, Identity>([[STRANGER.key, STRANGER]]);
  /** The matchers that select an entity. */
  readonly #selecting = new WeakMap<Entity, readonly string[]>();
  /** Of entities whose addresses are nobody else's, and in no network. */
  readonly #alone = new WeakMap<Entity, Identity>();
  readonly #places = new WeakMap<ReadonlySet<string>, Identity>();
  #around: { readonly sets: readonly NetworkSetEntity[]; readonly are: Surroundings } | undefined;

  constructor(questions: Questions) {
    this.#questions = questions;
  }

  identify({ entities, names }: Directory): Identified {
    const around = this.#surroundings(entities);
    const owners = ownersOf(entities);
    const addresses = new Map<Ip, Identity>();
    for (const ip of new Set([...owners.keys(), ...names.keys()])) {
      const place = around.at(ip);
      const identity = this.#identity(owners.get(ip) ?? [], place, names.get(ip) ?? []);
      if (identity !== this.#ofPlace(place)) addresses.set(ip, identity);
    }
    return { addresses, ranges: joined(around.parts, (part) => this.#ofPlace(part.texts)) };
  }

  /** The identity of an address that is one entity's alone; of the others, network sets may be around it. */
  of(ip: Ip, owner: Entity, others: readonly Entity[]): Identity {
    return this.#identity([owner], this.#surroundings(others).at(ip), []);
  }

  #identity(own: readonly Entity[], place: ReadonlySet<string>, names: readonly string[]): Identity {
    const [owner] = own;
    const isAlone = owner !== undefined && own.length === 1 && place.size === 0 && names.length === 0;
    const known = isAlone ? this.#alone.get(owner) : undefined;
    if (known) return known;
    const are = new Set(place);
    for (const entity of own) for (const text of this.#byItself(entity)) are.add(text);
    for (const matcher of names.length > 0 ? this.#questions.matchers.values() : [])
      if (matcher.kind === 'names' && isNamed(names, matcher)) are.add(matcher.text);
    const ports = portsOf({ entities: own }).filter(({ name }) => this.#questions.portNames.has(name));
    const identity = this.#intern(are, ports);
    if (isAlone) this.#alone.set(owner, identity);
    return identity;
  }

  #ofPlace(place: ReadonlySet<string>): Identity {
    const known = this.#places.get(place) ?? this.#intern(place, []);
    this.#places.set(place, known);
    return known;
  }

  #intern(are: ReadonlySet<string>, ports: Identity['ports']): Identity {
    const key = [
      ...[...are].sort(),
      ...ports.map(({ name, protocol, port }) => `port ${name} ${protocol}/${port}`).sort(),
    ].join('\n');
    const identity = this.#identities.get(key) ?? { key, are, ports };
    this.#identities.set(key, identity);
    return identity;
  }

  #byItself(entity: Entity): readonly string[] {
    const known = this.#selecting.get(entity);
    if (known) return known;
    const texts: string[] = [];
    for (const matcher of this.#questions.matchers.values())
      if ('selects' in matcher && matcher.selects(entity)) texts.push(matcher.text);
    this.#selecting.set(entity, texts);
    return texts;
  }

  /** What holds in the networks of conditions, and of the sets that are selected. */
  #surroundings(entities: readonly Entity[]): Surroundings {
    const sets = entities.filter((entity) => entity.kind === 'network-set');
    const last = this.#around;
    if (last?.sets.length === sets.length && sets.every((set, i) => set === last.sets[i])) return last.are;
    const texts = new Map<Cidr, string[]>();
    const add = (nets: readonly Cidr[], more: readonly string[]): void => {
      if (more.length > 0) for (const net of nets) texts.set(net, [...(texts.get(net) ?? []), ...more]);
    };
    for (const matcher of this.#questions.matchers.values())
      if (matcher.kind === 'nets') add(matcher.nets, [matcher.text]);
    for (const set of sets) add(set.nets, this.#byItself(set));
    this.#around = { sets, are: new Surroundings(texts) };
    return this.#around.are;
  }
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

/** Neighbouring parts of one identity as one range, without strangers. */
function joined(parts: readonly Part[], identityOf: (part: Part) => Identity): Identified['ranges'] {
  const ranges: { family: Part['family']; from: bigint; to: bigint; identity: Identity }[] = [];
  for (const part of parts) {
    const { family, from, to } = part;
    const identity = identityOf(part);
    const before = ranges.at(-1);
    if (before && before.family === family && before.identity === identity && before.to + 1n === from)
      before.to = to;
    else if (identity !== STRANGER) ranges.push({ family, from, to, identity });
  }
  return ranges.map(({ family, from, to, identity }) => ({
    range: { first: ipFromBigInt(family, from), last: ipFromBigInt(family, to) },
    identity,
  }));
}
