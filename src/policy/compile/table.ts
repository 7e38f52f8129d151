import type { Family } from '../../ip/address.ts';
import type { Chain, Rule, SetValue, TableId } from '../../linux/nftables/values/table.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import { endChains, ends, logged, logRules } from './ends.ts';
import type { Logging } from './facts.ts';
import {
  connections,
  type Fate,
  isolated,
  itself,
  known,
  knownNets,
  peerNets,
  peers,
  type Scope,
  subjects,
  subnets,
  type Verdict,
  waiting,
} from './sets.ts';

export const tableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-policy' }) as const satisfies TableId;

/** What the structure depends on. */
export type Shape = {
  /** How many identities there is room for, by direction. */
  readonly peers: Readonly<Record<Direction, number>>;
  /** Whether anything is denied that a more general outcome allows. */
  readonly denies: boolean;
  /** By what connections are looked up. */
  readonly scopes: readonly Scope[];
  /** Whether any rule wants connections written down. */
  readonly logs: boolean;
  /** Absent: nobody listens. */
  readonly logging?: Logging | undefined;
  /** Whose packets are pods': devices by the beginning of their names, and the bridge. */
  readonly devices: string;
  readonly bridge: string;
};

/** Where a packet has the addresses of the pod and of the other end. */
export const END = {
  ingress: { own: 'daddr', peer: 'saddr' },
  egress: { own: 'saddr', peer: 'daddr' },
} as const satisfies Record<Direction, object>;

/** The number of all of whom no other is known. */
export const STRANGERS = 0;

export const peerChain = (direction: Direction, peer: number): string => `${direction}-${peer}`;

/**
 * The table's structure. In each direction in which policies are about a pod, a new connection is looked up
 * twice: who the other end is, which leads to the chain of its identity, and there the pod with the port. So
 * the number of policies and rules makes no difference, and a pod that comes or goes is an element or two,
 * however many policies it matters to. The chains are numbered, and there are some to spare: what differs
 * between clusters is in the elements.
 */
export function policyTable(shape: Shape, family: Family): NftTableItem {
  return {
    kind: 'nft-table',
    ...tableOf(family),
    sets: [
      ...[known, knownNets, subnets, itself, waiting].map((of): SetValue => of(family)),
      ...(shape.logging ? [logged(family)] : []),
      ...DIRECTIONS.flatMap((direction) => setsOf(direction, shape, family)),
    ],
    chains: [
      forward(shape, family),
      output(shape, family),
      ...input(shape, family),
      knownAs('saddr', family, shape),
      knownAs('daddr', family, shape),
      ...DIRECTIONS.flatMap((direction) => [
        identification(direction, family),
        ...numbers(shape.peers[direction]).map((peer) => judgement({ direction, peer }, shape, family)),
      ]),
      ...DIRECTIONS.flatMap((direction) => endChains(direction, family, shape.logging, shape.logs)),
    ],
  };
}

function setsOf(direction: Direction, shape: Shape, family: Family): readonly SetValue[] {
  const ofDirection = [subjects, isolated, peers, peerNets].map((of): SetValue => of(direction, family));
  const ofPeers = numbers(shape.peers[direction]).flatMap((peer) =>
    stepsOf(direction, shape).map(({ fate, scope }) => connections({ direction, peer }, fate, scope, family)),
  );
  return [...ofDirection, ...ofPeers];
}

/** The lookups of a connection, in their order. */
function stepsOf(
  direction: Direction,
  { denies, scopes, logs, logging }: Shape,
): readonly { fate: Fate; scope: Scope }[] {
  const fates: readonly Fate[] = denies ? VERDICTS[direction] : ['allow'];
  const written = logging && logs ? VERDICTS[direction].map((each): Fate => `${each}-logged`) : [];
  return scopes.flatMap((scope) => [...fates, ...written].map((fate) => ({ fate, scope })));
}

const VERDICTS = {
  ingress: ['allow', 'deny'],
  egress: ['allow', 'deny', 'isolate'],
} as const satisfies Record<Direction, readonly Verdict[]>;

/**
 * What bridged pods find each other by, and their routers and listeners; the guard sees to its truth. Nothing
 * that was routed passes for it: that has lost a hop, and would carry anything to anywhere (RFC 4861 §6.1 and
 * §7.1, RFC 3810 §5).
 */
export const NEIGHBOURS: readonly Rule[] = [
  {
    rule: 'icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept',
  },
  {
    rule: 'icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } ip6 hoplimit 1 ip6 daddr ff00::/8 accept',
  },
];

function forward({ devices, bridge }: Shape, family: Family): Chain {
  const destination = address('daddr', family);
  const comment = 'pods whose policies are not in force yet';
  return {
    name: 'forward',
    hook: { type: 'filter', hook: 'forward', priority: 'filter' },
    rules: [
      { rule: 'ct state established,related accept' },
      ...(family === 6 ? NEIGHBOURS : []),
      { rule: `iifname "${devices}*" jump known-saddr`, comment },
      { rule: `oifname "${devices}*" jump known-daddr`, comment },
      { rule: `iifname "${bridge}" jump known-saddr`, comment },
      { rule: `${destination} @${subnets(family).name} jump known-daddr`, comment },
      // Between ports of the bridge: routers forward none (RFC 4291 §2.5.6).
      ...(family === 6 ? [{ rule: `${destination} fe80::/10 jump known-daddr`, comment }] : []),
      ...judged(family),
    ],
  };
}

function judged(family: Family): readonly Rule[] {
  const [source, destination] = [address('saddr', family), address('daddr', family)];
  return [
    {
      rule: `${source} . ${destination} @${itself(family).name} accept`,
      comment: 'nothing keeps a pod from itself',
    },
    ...(['egress', 'ingress'] as const).map((direction) => ({
      rule: `${address(END[direction].own, family)} @${subjects(direction, family).name} jump ${direction}`,
    })),
  ];
}

/**
 * What the node sends for others: IPVS takes packets for a Service from the hook of what is the node's own,
 * chooses a server, and sends them on. What truly is its own passes.
 */
function output({ devices }: Shape, family: Family): Chain {
  const [source, destination] = [address('saddr', family), address('daddr', family)];
  const comment = 'pods whose policies are not in force yet';
  return {
    name: 'output',
    hook: { type: 'filter', hook: 'output', priority: 'filter' },
    rules: [
      { rule: 'ct state established,related accept' },
      { rule: 'fib saddr type local accept', comment: 'the node’s own' },
      ...(family === 6 ? NEIGHBOURS : []),
      { rule: `${source} @${subnets(family).name} jump known-saddr`, comment },
      { rule: `${source} @${waiting(family).name} jump known-saddr`, comment },
      { rule: `oifname "${devices}*" jump known-daddr`, comment },
      { rule: `${destination} @${subnets(family).name} jump known-daddr`, comment },
      ...judged(family),
    ],
  };
}

/** After IPVS, which takes its packets at 99, where what they are for is not known yet. */
const AFTER_IPVS = 101;

/**
 * What pods send to their own node: nothing but a rule denies it, where it is known which rules are about the
 * pod.
 */
function input({ denies, devices, bridge }: Shape, family: Family): readonly Chain[] {
  const pods = `${address('saddr', family)} @${subjects('egress', family).name}`;
  const comment = 'pods whose policies are not in force yet';
  const hooked: Chain = {
    name: 'input',
    hook: { type: 'filter', hook: 'input', priority: AFTER_IPVS },
    rules: [
      { rule: 'ct state established,related accept' },
      ...(family === 6 ? NEIGHBOURS : []),
      { rule: `iifname "${devices}*" jump known-saddr`, comment },
      { rule: `iifname "${bridge}" jump known-saddr`, comment },
      ...(denies ? [{ rule: `${pods} goto to-node` }] : []),
    ],
  };
  const toNode: Chain = {
    name: 'to-node',
    rules: [{ rule: 'fib daddr type != local accept', comment: 'to all, or many' }, { rule: 'goto egress' }],
  };
  return denies ? [hooked, toNode] : [hooked];
}

function knownAs(end: 'saddr' | 'daddr', family: Family, { logging }: Shape): Chain {
  const what = end === 'saddr' ? 'unknown source' : 'unknown destination';
  return {
    name: `known-${end}`,
    rules: [
      ...[known(family), knownNets(family)].map(({ name }) => ({
        rule: `${address(end, family)} @${name} return`,
      })),
      ...(logging?.denied ? logRules(what, family, logging, 'drop') : [{ rule: 'counter drop' }]),
    ],
  };
}

/** Who the other end is leads to its chain. */
export function identification(direction: Direction, family: Family): Chain {
  const peer = address(END[direction].peer, family);
  return {
    name: direction,
    rules: [
      { rule: `${peer} vmap @${peers(direction, family).name}` },
      { rule: `${peer} vmap @${peerNets(direction, family).name}` },
      { rule: `goto ${peerChain(direction, STRANGERS)}`, comment: 'a stranger' },
    ],
  };
}

/** The fields of a packet that a scope asks for, after the pod's address. */
export const FIELDS = {
  ports: ' . meta l4proto . th dport',
  ranges: ' . meta l4proto . th dport',
  messages: ' . meta l4proto . @th,0,16',
  protocols: ' . meta l4proto',
  all: '',
} as const satisfies Record<Scope, string>;

/** The most special outcome decides. `return` leads back to the hook, and so to the other direction. */
function judgement(lane: { direction: Direction; peer: number }, shape: Shape, family: Family): Chain {
  const { direction } = lane;
  const pod = address(END[direction].own, family);
  const end = ends(direction, shape.logging);
  const steps = stepsOf(direction, shape).map(({ fate, scope }): Rule => {
    const { name } = connections(lane, fate, scope, family);
    return { rule: `${pod}${FIELDS[scope]} @${name} ${end[fate]}` };
  });
  const isolates = direction === 'egress' ? end.isolate : end.deny;
  const last = { rule: `${pod} @${isolated(direction, family).name} ${isolates}` };
  return { name: peerChain(lane.direction, lane.peer), rules: [...steps, last] };
}

export function address(end: 'saddr' | 'daddr', family: Family): string {
  return `${family === 4 ? 'ip' : 'ip6'} ${end}`;
}

export function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
