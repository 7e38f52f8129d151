import type { Ip } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import { addressesOf, type Entity } from './entity.ts';
import { conditionText } from './text.ts';

/**
 * One condition on the other end of a connection. Two of the same text are the same condition: rules of
 * several policies share what is computed for it.
 */
export type Matcher = EntityMatcher | NetMatcher | NameMatcher;

/** Holds for the addresses of the entities that it selects. */
export type EntityMatcher = {
  /** `labelled`: pods and network sets alike. */
  readonly kind: 'pods' | 'nodes' | 'labelled';
  /** `namespaces team = a, pods app = web`: for people, and its identity. */
  readonly text: string;
  /** How much it asks for. Absent: one thing. */
  readonly size?: number;
  readonly selects: (entity: Entity) => boolean;
};

/** Holds for the addresses in any of the networks. */
export type NetMatcher = { readonly kind: 'nets'; readonly text: string; readonly nets: readonly Cidr[] };

/** Holds for the addresses that DNS has given for a name: `example.org`, or `*.example.org`. */
export type NameMatcher = {
  readonly kind: 'names';
  readonly text: string;
  readonly names: readonly string[];
};

/** What an address is known by. */
export type Known = {
  readonly ip: Ip;
  /** Those whose address it is, or in whose networks it lies. */
  readonly entities: readonly Entity[];
  /** The names that DNS has given it for. */
  readonly names: readonly string[];
};

export function netMatcher(nets: readonly Cidr[]): NetMatcher {
  return { kind: 'nets', text: conditionText(`nets ${nets.toSorted().join(', ')}`), nets };
}

/** Whether a condition holds for an address. */
export function holds(matcher: Matcher, { ip, entities, names }: Known): boolean {
  switch (matcher.kind) {
    case 'nets':
      return matcher.nets.some((net) => contains(net, ip));
    case 'names':
      return isNamed(names, matcher);
    default:
      return entities.some(matcher.selects);
  }
}

/** Whether any of the names is meant. `*.example.org` stands for one label or more in front of it. */
export function isNamed(names: readonly string[], { names: patterns }: NameMatcher): boolean {
  return patterns.some((pattern) =>
    names.some((name) => (pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern)),
  );
}

/** An address as these entities make it known. */
export function knownAs(ip: Ip, entities: readonly Entity[], names: readonly string[] = []): Known {
  const own = entities.filter((entity) =>
    addressesOf(entity).some((each) => (each.includes('/') ? contains(each as Cidr, ip) : each === ip)),
  );
  return { ip, entities: own, names };
}
