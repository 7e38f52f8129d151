import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { PodEntity } from '../model/entity.ts';
import type { Direction, Policy, Tier } from '../model/policy.ts';
import type { Effect } from './effects.ts';
import { type Most, weighing } from './excess.ts';
import type { PolicyFacts } from './facts.ts';
import { sizesOf } from './fates.ts';
import { grouping } from './grouping.ts';
import type { Identified } from './identities.ts';
import { type Decided, laneElements } from './lane.ts';
import type { JudgeMemory } from './memory.ts';
import type { PodClass, Selected } from './pod-class.ts';
import { isolated, peerNets, peers, subjects } from './sets.ts';
import { slotsOf } from './slots.ts';
import { peerChain, STRANGERS, tableOf } from './table.ts';
import type { Verdicts } from './verdicts.ts';

/** Judges one direction of the connections of this node's pods. */
export class Judge {
  readonly denies: boolean;
  /** How many chains there are for those at the other end. */
  readonly peers: number;
  /** Whether any rule wants connections written down. */
  readonly logs: boolean;
  readonly #direction: Direction;
  readonly #families: readonly Family[];
  /** Of pods that policies are about: their classes by their addresses. */
  readonly #classes = new Map<PodEntity, ReadonlyMap<Ip, PodClass>>();
  readonly #identified: Identified<Effect>;
  /** Of the identities, by which chains and sets are named. */
  readonly #numbers: ReadonlyMap<Effect, number>;
  readonly #logging: boolean;

  /** Throws `Excess`. */
  constructor(direction: Direction, facts: PolicyFacts, memory: JudgeMemory, mostApart: number, most: Most) {
    this.#direction = direction;
    this.#families = facts.families;
    const selected = new Map(
      facts.subjects.map(({ pod }) => [pod, memory.selected(pod, facts.tiers)] as const),
    );
    const used = usedTiers(facts.tiers, new Set(selected.values()));
    const rules = used.flatMap(({ policies }) => policies.flatMap((policy) => policy[direction] ?? []));
    this.denies =
      used.some(({ otherwise }) => otherwise !== 'deny') ||
      rules.some(
        ({ action, traffic }) =>
          action !== 'allow' ||
          traffic?.some((each) => each.notProtocol !== undefined || each.notPorts || each.notIcmp),
      );
    this.logs = rules.some(({ action }) => action === 'log');
    this.#logging = facts.logging !== undefined;
    const own = memory.own(used);
    const sets = facts.entities.filter(({ kind }) => kind === 'network-set');
    for (const [pod, each] of selected) {
      if (each.length === 0) continue;
      const addresses = pod.addresses.filter((ip) => this.#families.includes(familyOf(ip)));
      const classOf = (ip: Ip) => memory.classOf(each, own.of(ip, pod, sets), facts.tiers);
      this.#classes.set(pod, new Map(addresses.map((ip) => [ip, classOf(ip)])));
    }
    const others = memory.peers(used);
    const deciding = { classes: sizesOf(this.#classes.values()), families: this.#families };
    this.#identified = others.identify(
      facts,
      grouping(deciding, others.stranger, mostApart, most),
      weighing(most),
    );
    const { numbers, count } = numbered(this.#identified);
    this.#numbers = numbers;
    this.peers = count;
  }

  isPoliced(pod: PodEntity): boolean {
    return this.#classes.has(pod);
  }

  /** Who is who. */
  directory(): NftElementItem[] {
    const { addresses, ranges } = this.#identified;
    const to = (identity: Effect) => ({ goto: peerChain(this.#direction, this.#numberOf(identity)) });
    const inUse = (ip: Ip): boolean => this.#families.includes(familyOf(ip));
    const ofAddresses = [...addresses]
      .filter(([ip]) => inUse(ip))
      .map(([ip, identity]) =>
        elementItem(
          tableOf(familyOf(ip)),
          elementOf(peers(this.#direction, familyOf(ip)), [ip], to(identity)),
        ),
      );
    const ofNets = ranges
      .filter(({ range }) => inUse(range.first))
      .map(({ range, identity }) => {
        const family = familyOf(range.first);
        return elementItem(
          tableOf(family),
          elementOf(peerNets(this.#direction, family), [range], to(identity)),
        );
      });
    return [...ofAddresses, ...ofNets];
  }

  /** In which sets a pod is. */
  membership(pod: PodEntity): NftElementItem[] {
    return [...(this.#classes.get(pod) ?? [])].flatMap(([ip, { isIsolated }]) => {
      const family = familyOf(ip);
      const sets = [subjects(this.#direction, family)];
      if (isIsolated) sets.push(isolated(this.#direction, family));
      return sets.map((set) => elementItem(tableOf(family), elementOf(set, [ip])));
    });
  }

  /** What is decided about a pod's connections. */
  decided(pod: PodEntity): Decided[] {
    return [...(this.#classes.get(pod) ?? [])].flatMap(([ip, own]) =>
      [...this.#numbers].flatMap(([peer, number]) => {
        const lane = { direction: this.#direction, peer: number };
        const decisions = own.decisions(familyOf(ip), peer);
        const { isIsolated } = own;
        const elements = laneElements(lane, ip, familyOf(ip), decisions, { isIsolated, logs: this.#logging });
        return peer.isOneOf ? elements.map(asOneOf) : elements;
      }),
    );
  }

  /** The same as a value, for connections at hand. */
  verdicts(): Verdicts {
    const pods = [...this.#classes.values()].flatMap((ofPod) => [...ofPod]);
    return { identified: this.#identified, pods: new Map(pods) };
  }

  #numberOf(one: Effect): number {
    return this.#numbers.get(one) ?? STRANGERS;
  }
}

/** The identities' numbers, and how many chains it takes to have room for them. */
function numbered({ addresses, ranges, stranger, names }: Identified<Effect>): {
  readonly numbers: ReadonlyMap<Effect, number>;
  readonly count: number;
} {
  const others = new Set([...addresses.values(), ...ranges.map(({ identity }) => identity)]);
  others.delete(stranger);
  const nameOf = (one: Effect): string => names.get(one) ?? '';
  const slots = slotsOf([...others].map(nameOf));
  const numbers = [...others].map((one) => [one, (slots.numbers.get(nameOf(one)) ?? 0) + 1] as const);
  return { numbers: new Map([[stranger, STRANGERS], ...numbers]), count: slots.count + 1 };
}

function asOneOf({ item, outcome }: Decided): Decided {
  return { item, outcome: { ...outcome, isOneOf: true } };
}

/** The tiers as far as they matter to any of the pods. */
function usedTiers(tiers: readonly Tier[], selected: Iterable<readonly Selected[]>): readonly Tier[] {
  const used = new Map<Tier, Set<Policy>>();
  for (const each of selected)
    for (const { tier, policies } of each) {
      const of = used.get(tier) ?? new Set();
      for (const policy of policies) of.add(policy);
      used.set(tier, of);
    }
  return tiers.flatMap((tier) => {
    const of = used.get(tier);
    return of ? [{ ...tier, policies: tier.policies.filter((policy) => of.has(policy)) }] : [];
  });
}
