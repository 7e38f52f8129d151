import { type Family, familyOf } from '../../ip/address.ts';
import { type Cidr, contains } from '../../ip/cidr.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';
import type { PodEntity } from '../model/entity.ts';
import type { Direction, Tier } from '../model/policy.ts';
import { Excess, MOST, type Most, type Scope } from './excess.ts';
import type { PolicyFacts, Subject } from './facts.ts';
import { MOST_APART } from './grouping.ts';
import { Judge } from './judge.ts';
import type { Decided } from './lane.ts';
import { Memory } from './memory.ts';
import { itself, known, knownNets, scopesOf, subnets, waiting } from './sets.ts';
import { policyTable, type Shape, tableOf } from './table.ts';
import type { Verdicts } from './verdicts.ts';

export type Compiled = {
  /** In force: the policies of scopes that were too much are closed. */
  readonly tiers: readonly Tier[];
  readonly refused: readonly Excess[];
  readonly tables: readonly NftTableItem[];
  /** Elements that no single pod needs: who addresses are. */
  readonly directory: readonly NftElementItem[];
  /** By pod. */
  readonly pods: ReadonlyMap<PodEntity, CompiledPod>;
  readonly verdicts: Readonly<Record<Direction, Verdicts>>;
};

export type CompiledPod = {
  readonly items: readonly NftElementItem[];
  readonly decided: readonly Decided[];
};

/**
 * Computes what the kernel should hold for the policies. Pure: the memory only saves time. Where those of a
 * namespace, or of the cluster as a whole, are too much for a node, they are closed instead. `mostApart`:
 * with more identities than this at the other end, those count as one of which the same becomes.
 */
export function compilePolicies(
  facts: PolicyFacts,
  memory: Memory = new Memory(),
  mostApart: number = MOST_APART,
  most: Most = MOST,
): Compiled {
  const refused: Excess[] = [];
  const closed = new Set<Scope>();
  let [{ tiers }, own] = [facts, memory];
  for (;;)
    try {
      return { tiers, refused, ...compiled({ ...facts, tiers }, own, mostApart, { ...most, closed }) };
    } catch (error) {
      if (!(error instanceof Excess)) throw error;
      refused.push(error);
      closed.add(error.scope);
      tiers = own.closed(facts.tiers, closed);
      own = own.after;
    }
}

function compiled(
  facts: PolicyFacts,
  memory: Memory,
  mostApart: number,
  most: Most,
): Omit<Compiled, 'tiers' | 'refused'> {
  const [ingress, egress] = [
    new Judge('ingress', facts, memory.ingress, mostApart, most),
    new Judge('egress', facts, memory.egress, mostApart, most),
  ];
  const judges = [ingress, egress];
  const isPoliced = ({ pod }: Subject): boolean => judges.some((judge) => judge.isPoliced(pod));
  const open = openNets(facts.subjects, isPoliced);
  const pods = new Map(
    facts.subjects.map((subject) => {
      const decided = judges.flatMap((lane) => lane.decided(subject.pod));
      const items = [
        ...presence(subject, facts.families, judges, open),
        ...judges.flatMap((lane) => lane.membership(subject.pod)),
        ...decided.map(({ item }) => item),
      ];
      return [subject.pod, { items, decided }] as const;
    }),
  );
  const shape: Shape = {
    peers: { ingress: ingress.peers, egress: egress.peers },
    denies: judges.some(({ denies }) => denies),
    scopes: scopesOf([...pods.values()].flatMap(({ decided }) => decided.map(({ item }) => item))),
    logs: judges.some(({ logs }) => logs),
    logging: facts.logging,
    devices: facts.devices,
    bridge: facts.bridge,
  };
  return {
    tables: facts.families.map((family) => policyTable(shape, family)),
    directory: [...ofSubnets(facts), ...ofWaiting(facts), ...judges.flatMap((lane) => lane.directory())],
    pods,
    verdicts: { ingress: ingress.verdicts(), egress: egress.verdicts() },
  };
}

/**
 * The networks that pods without policies may send from besides: those of pods with policies would let these
 * escape them. None lies in another.
 */
function openNets(subjects: readonly Subject[], isPoliced: (subject: Subject) => boolean): ReadonlySet<Cidr> {
  const isIn = (net: Cidr, other: Cidr): boolean => familyOf(net) === familyOf(other) && contains(other, net);
  const closed = subjects.filter(isPoliced).flatMap(({ nets }) => nets);
  const open = new Set(subjects.flatMap(({ nets }) => nets));
  return new Set(
    [...open].filter(
      (net) =>
        !closed.some((other) => isIn(net, other) || isIn(other, net)) &&
        ![...open].some((other) => other !== net && isIn(net, other)),
    ),
  );
}

/** What lets a pod's packets pass to where its policies are asked. */
function presence(
  { pod, nets }: Subject,
  families: readonly Family[],
  judges: readonly Judge[],
  open: ReadonlySet<Cidr>,
): NftElementItem[] {
  const isPoliced = judges.some((judge) => judge.isPoliced(pod));
  const addresses = pod.addresses.filter((ip) => families.includes(familyOf(ip)));
  const own = addresses.flatMap((ip) => {
    const family = familyOf(ip);
    const present = elementItem(tableOf(family), elementOf(known(family), [ip]));
    return isPoliced
      ? [present, elementItem(tableOf(family), elementOf(itself(family), [ip, ip]))]
      : [present];
  });
  const further = nets.filter((net) => families.includes(familyOf(net)) && open.has(net));
  return [
    ...own,
    ...further.map((net) => {
      const family = familyOf(net);
      return elementItem(tableOf(family), elementOf(knownNets(family), [net]));
    }),
  ];
}

function ofWaiting({ waiting: all = [], families }: PolicyFacts): NftElementItem[] {
  return all
    .filter((ip) => families.includes(familyOf(ip)))
    .map((ip) => elementItem(tableOf(familyOf(ip)), elementOf(waiting(familyOf(ip)), [ip])));
}

function ofSubnets({ subnets: nets, families }: PolicyFacts): NftElementItem[] {
  return nets
    .filter((net) => families.includes(familyOf(net)))
    .map((net) => elementItem(tableOf(familyOf(net)), elementOf(subnets(familyOf(net)), [net])));
}
