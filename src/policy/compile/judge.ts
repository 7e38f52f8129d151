import { type Family, familyOf, type Ip } from '../../ip/address.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { Entity, PodEntity } from '../model/entity.ts';
import type { Direction, Tier } from '../model/policy.ts';
import { type Decisions, decide, type Identity, type Selected } from './decisions.ts';
import type { PolicyFacts } from './facts.ts';
import { type Identified, type Identities, STRANGER } from './identities.ts';
import { type Decided, laneElements } from './lane.ts';
import { ownQuestionsOf, questionsOf } from './matchers.ts';
import type { JudgeMemory } from './memory.ts';
import { isolated, peerNets, peers, subjects } from './sets.ts';
import { type Slots, slotsOf } from './slots.ts';
import { peerChain, STRANGERS, tableOf } from './table.ts';

/** Judges one direction of the connections of this node's pods. */
export class Judge {
  readonly denies: boolean;
  readonly messages: boolean;
  /** Whether any rule wants connections written down. */
  readonly logs: boolean;
  readonly #direction: Direction;
  readonly #families: readonly Family[];
  readonly #selected: ReadonlyMap<PodEntity, readonly Selected[]>;
  readonly #identified: Identified;
  readonly #slots: Slots;
  readonly #own: Identities;
  readonly #sets: readonly Entity[];
  readonly #tiers: readonly Tier[];
  readonly #logging: boolean;
  readonly #memory: JudgeMemory;

  constructor(direction: Direction, facts: PolicyFacts, memory: JudgeMemory) {
    this.#direction = direction;
    this.#tiers = facts.tiers;
    this.#memory = memory;
    this.#sets = facts.entities.filter(({ kind }) => kind === 'network-set');
    this.#families = facts.families;
    this.#selected = new Map(
      facts.subjects.map(({ pod }) => [pod, memory.selected(pod, direction, facts.tiers)] as const),
    );
    const used = usedTiers(this.#selected.values());
    const rules = used.flatMap(({ policies }) => policies.flatMap((policy) => policy[direction] ?? []));
    this.denies =
      used.some(({ otherwise }) => otherwise !== 'deny') ||
      rules.some(
        ({ action, traffic }) =>
          action !== 'allow' ||
          traffic?.some((each) => each.notProtocol !== undefined || each.notPorts || each.notIcmp),
      );
    this.messages = rules.some(({ traffic }) => traffic?.some(({ icmp, notIcmp }) => icmp ?? notIcmp));
    this.logs = rules.some(({ action }) => action === 'log');
    this.#logging = facts.logging !== undefined;
    this.#own = memory.identities('own', ownQuestionsOf(used, direction));
    this.#identified = memory.identities('peer', questionsOf(used, direction)).identify(facts);
    const { addresses, ranges } = this.#identified;
    const keys = [...addresses.values(), ...ranges.map(({ identity }) => identity)].map(({ key }) => key);
    this.#slots = slotsOf(keys.filter((key) => key !== STRANGER.key));
  }

  /** How many chains there are for those at the other end. */
  get peers(): number {
    return this.#slots.count + 1;
  }

  isPoliced(pod: PodEntity): boolean {
    return (this.#selected.get(pod) ?? []).length > 0;
  }

  /** Who is who. */
  directory(): NftElementItem[] {
    const { addresses, ranges } = this.#identified;
    const to = (identity: Identity) => ({ goto: peerChain(this.#direction, this.#numberOf(identity)) });
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
    if (!this.isPoliced(pod)) return [];
    return this.#addressesOf(pod).flatMap((ip) => {
      const family = familyOf(ip);
      const sets = [subjects(this.#direction, family)];
      if (this.#isIsolated(pod)) sets.push(isolated(this.#direction, family));
      return sets.map((set) => elementItem(tableOf(family), elementOf(set, [ip])));
    });
  }

  /** What is decided about a pod's connections. */
  decided(pod: PodEntity): Decided[] {
    if (!this.isPoliced(pod)) return [];
    return this.#addressesOf(pod).flatMap((ip) =>
      this.#identities().flatMap((peer) => {
        const lane = { direction: this.#direction, peer: this.#numberOf(peer) };
        return laneElements(lane, ip, familyOf(ip), this.#decide(pod, ip, peer), {
          isIsolated: this.#isIsolated(pod),
          logs: this.#logging,
        });
      }),
    );
  }

  #identities(): readonly Identity[] {
    const { addresses, ranges } = this.#identified;
    return [...new Set([STRANGER, ...addresses.values(), ...ranges.map(({ identity }) => identity)])];
  }

  #addressesOf(pod: PodEntity): readonly Ip[] {
    return pod.addresses.filter((ip) => this.#families.includes(familyOf(ip)));
  }

  #numberOf({ key }: Identity): number {
    const slot = this.#slots.numbers.get(key);
    return slot === undefined ? STRANGERS : slot + 1;
  }

  #isIsolated(pod: PodEntity): boolean {
    return (this.#selected.get(pod) ?? []).some(({ tier }) => tier.otherwise === 'deny');
  }

  /** Pods that the same policies select, and that are the same to their rules, share decisions. */
  #decide(pod: PodEntity, ip: Ip, peer: Identity): Decisions {
    const selected = this.#selected.get(pod) ?? [];
    const own = this.#own.of(ip, pod, this.#sets);
    const family = familyOf(ip);
    const policies = selected.flatMap(({ policies: each }) =>
      each.map((policy) => this.#memory.idOf(policy)),
    );
    const key = [family, policies.join(), own.key, peer.key].join('\n\n');
    return this.#memory.decisions(this.#tiers, key, () =>
      decide({ direction: this.#direction, family, selected, own, peer }),
    );
  }
}

/** The tiers as far as they matter to any of the pods. */
function usedTiers(selected: Iterable<readonly Selected[]>): readonly Tier[] {
  const used = new Map<Tier, Set<Tier['policies'][number]>>();
  for (const each of selected)
    for (const { tier, policies } of each) used.set(tier, new Set([...(used.get(tier) ?? []), ...policies]));
  return [...used].map(([tier, policies]) => ({ ...tier, policies: [...policies] }));
}
