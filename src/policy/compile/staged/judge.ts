import { type Family, familyOf, type Ip } from '../../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem } from '../../../state/kinds/nft-element.ts';
import type { PodEntity } from '../../model/entity.ts';
import { type Direction, type Policy, policyText, type Tier } from '../../model/policy.ts';
import type { Decisions } from '../decisions.ts';
import type { Effect } from '../effects.ts';
import { MOST, Tally, weighing } from '../excess.ts';
import type { PolicyFacts } from '../facts.ts';
import { sizesOf } from '../fates.ts';
import type { Identified } from '../identities.ts';
import { spread } from '../lane.ts';
import { JudgeMemory } from '../memory.ts';
import type { PodClass, Selected } from '../pod-class.ts';
import { peerNets, peers, subjects } from '../sets.ts';
import { type Slots, slotsOf } from '../slots.ts';
import { peerChain, STRANGERS } from '../table.ts';
import { areSame, type Difference, differences } from './differences.ts';
import { differing, stagedTableOf } from './table.ts';

/** An element that counts connections, and what would become of these. */
export type Differing = { readonly item: NftElementItem; readonly difference: Difference };

/** What need not be found again, of policies as they are and as they would be. */
export class StagedMemory {
  readonly now: JudgeMemory;
  readonly enforced: JudgeMemory;

  constructor(direction: Direction) {
    this.now = new JudgeMemory(direction);
    this.enforced = new JudgeMemory(direction);
  }
}

/** Pods for which staged policies would make a difference. */
type Class = {
  readonly now: PodClass;
  readonly enforced: PodClass;
  readonly staged: readonly Policy[];
  readonly found: Map<string, Decisions<Difference>>;
};

/** Compares what is decided with what would be, in one direction of the connections of this node's pods. */
export class StagedJudge {
  readonly #direction: Direction;
  readonly #classes = new Map<PodEntity, ReadonlyMap<Ip, Class>>();
  readonly #identified: Identified<Effect>;
  readonly #slots: Slots;

  /** `enforced`: the tiers with the staged policies in force. Throws `Excess`. */
  constructor(direction: Direction, facts: PolicyFacts, enforced: readonly Tier[], memory: StagedMemory) {
    this.#direction = direction;
    const concerned = facts.subjects.flatMap(({ pod }) => {
      const selected = [
        memory.now.selected(pod, facts.tiers),
        memory.enforced.selected(pod, enforced),
      ] as const;
      return textOf(selected[0]) === textOf(selected[1]) ? [] : [{ pod, selected }];
    });
    const about = aboutAny(
      facts.tiers,
      direction,
      concerned.map(({ pod }) => pod),
    );
    const own = memory.now.own(about);
    const sets = facts.entities.filter(({ kind }) => kind === 'network-set');
    const classes = new Map<string, Class>();
    for (const { pod, selected } of concerned) {
      const staged = concernedBy(facts.tiers, selected[0], direction, pod);
      const classOf = (ip: Ip): Class => {
        const traits = own.of(ip, pod, sets);
        const key = `${selected.map(textOf).join('\n\n')}\n\n${traits.key}`;
        const known = classes.get(key) ?? {
          now: memory.now.classOf(selected[0], traits, facts.tiers),
          enforced: memory.enforced.classOf(selected[1], traits, enforced),
          staged,
          found: new Map(),
        };
        classes.set(key, known);
        return known;
      };
      const addresses = pod.addresses.filter((ip) => facts.families.includes(familyOf(ip)));
      this.#classes.set(pod, new Map(addresses.map((ip) => [ip, classOf(ip)])));
    }
    const others = memory.now.peers(about);
    const grouping = (found: ReadonlySet<Effect>) =>
      byDifference(found, others.stranger, sizesOf(this.#classes.values()), facts.families);
    this.#identified = others.identify(facts, grouping, weighing(MOST));
    this.#slots = slotsOf(this.#identities().map(({ key }) => key));
  }

  /** How many chains there are for those at the other end. */
  get peers(): number {
    return this.#slots.count + 1;
  }

  get isEmpty(): boolean {
    return this.#classes.size === 0;
  }

  /** Who is who, and which pods are concerned. */
  directory(): NftElementItem[] {
    const { addresses, ranges } = this.#identified;
    const direction = this.#direction;
    const to = (identity: Effect) => ({ goto: peerChain(direction, this.#numberOf(identity)) });
    const families = new Set([...this.#classes.values()].flatMap((of) => [...of.keys()].map(familyOf)));
    return [
      ...[...addresses]
        .filter(([ip]) => families.has(familyOf(ip)))
        .map(([ip, identity]) =>
          elementItem(
            stagedTableOf(familyOf(ip)),
            elementOf(peers(direction, familyOf(ip)), [ip], to(identity)),
          ),
        ),
      ...ranges
        .filter(({ range }) => families.has(familyOf(range.first)))
        .map(({ range, identity }) => {
          const family = familyOf(range.first);
          return elementItem(
            stagedTableOf(family),
            elementOf(peerNets(direction, family), [range], to(identity)),
          );
        }),
      ...[...this.#classes.values()].flatMap((of) =>
        [...of.keys()].map((ip) =>
          elementItem(stagedTableOf(familyOf(ip)), elementOf(subjects(direction, familyOf(ip)), [ip])),
        ),
      ),
    ];
  }

  /** The elements that count a pod's connections. */
  differing(pod: PodEntity): Differing[] {
    return [...(this.#classes.get(pod) ?? [])].flatMap(([ip, own]) => {
      const family = familyOf(ip);
      return [...new Set([this.#identified.stranger, ...this.#identities()])].flatMap((peer) => {
        const found = differencesOf(own, family, peer);
        const lane = { direction: this.#direction, peer: this.#numberOf(peer) };
        return spread(found, found.others.would === undefined).map(({ scope, value, rest }) => {
          const element = elementOf(differing(lane, scope, family), [ip, ...rest] as never);
          return { item: elementItem(stagedTableOf(family), element), difference: value };
        });
      });
    });
  }

  #identities(): readonly Effect[] {
    const { addresses, ranges, stranger } = this.#identified;
    const all = [...addresses.values(), ...ranges.map(({ identity }) => identity)];
    return [...new Set(all)].filter((one) => one !== stranger);
  }

  #numberOf(identity: Effect): number {
    const slot = identity === this.#identified.stranger ? undefined : this.#slots.numbers.get(identity.key);
    return slot === undefined ? STRANGERS : slot + 1;
  }
}

function differencesOf(
  { now, enforced, staged, found }: Class,
  family: Family,
  peer: Effect,
): Decisions<Difference> {
  const key = `${family} ${peer.key}`;
  const known =
    found.get(key) ?? differences(now.decisions(family, peer), enforced.decisions(family, peer), staged);
  found.set(key, known);
  return known;
}

/** Those at the other end for whom the same would be different are one. */
function byDifference(
  all: ReadonlySet<Effect>,
  stranger: Effect,
  sizes: ReturnType<typeof sizesOf<Class>>,
  families: readonly Family[],
): (one: Effect) => Effect {
  const steps = new Tally('steps', MOST);
  const elements = new Tally('elements', MOST);
  const weighed = (own: Class, family: Family, one: Effect): Decisions<Difference> => {
    const before = own.found.size;
    const found = differencesOf(own, family, one);
    if (own.found.size === before) return found;
    steps.add(undefined, own.now.decisions(family, one).steps + own.enforced.decisions(family, one).steps);
    const { 4: v4, 6: v6 } = sizes.get(own) ?? { 4: 0, 6: 0 };
    elements.add(undefined, (v4 + v6) * spread(found, areSame(found)).length);
    return found;
  };
  const textOfEffect = (one: Effect): string =>
    [...sizes.keys()]
      .flatMap((each, i) => families.map((family) => ({ i, family, found: weighed(each, family, one) })))
      .filter(({ found }) => !areSame(found))
      .map(({ i, family, found }) => `${i} ${family} ${textOfDecisions(found)}`)
      .join('\n');
  const kinds = new Tally('kinds', MOST);
  const groups = new Map<Effect, Effect>();
  for (const members of Map.groupBy(all, textOfEffect).values()) {
    const least = members.reduce((a, b) => (b.key < a.key ? b : a));
    const group = members.includes(stranger) ? stranger : least;
    kinds.add(undefined, 1);
    for (const each of members) groups.set(each, group);
  }
  return (one) => groups.get(one) ?? one;
}

function textOfDecisions({ byProtocol, others }: Decisions<Difference>): string {
  const protocols = [...byProtocol].toSorted(([a], [b]) => a - b);
  const texts = protocols.map(
    ([protocol, segments]) =>
      `${protocol}: ${segments.map(({ first, value }) => `${first} ${value.key}`).join(', ')}`,
  );
  return [others.key, ...texts].join('; ');
}

/** The policies, staged or not, that are about any of the pods. */
function aboutAny(tiers: readonly Tier[], direction: Direction, pods: readonly PodEntity[]): readonly Tier[] {
  return tiers.map((tier) => ({
    ...tier,
    policies: tier.policies.filter(
      (policy) => policy[direction] && pods.some((pod) => policy.subject.selects(pod)),
    ),
  }));
}

/** The staged policies that are about a pod, or would take the place of one that is. */
function concernedBy(
  tiers: readonly Tier[],
  selected: readonly Selected[],
  direction: Direction,
  pod: PodEntity,
): readonly Policy[] {
  const own = new Set(selected.flatMap(({ policies }) => policies.map(policyText)));
  return tiers.flatMap(({ policies }) =>
    policies.filter(
      (policy) =>
        policy.staged &&
        policy.staged.action !== 'ignore' &&
        (own.has(policyText(policy.staged.replaces)) || (policy[direction] && policy.subject.selects(pod))),
    ),
  );
}

function textOf(selected: readonly Selected[]): string {
  return selected
    .map(({ tier, policies }) => `${tier.name}: ${policies.map(policyText).join(', ')}`)
    .join('\n');
}
