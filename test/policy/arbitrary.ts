import fc from 'fast-check';
import { type Ip, parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import type { Logged } from '../../src/policy/compile/ends.ts';
import type { PolicyFacts } from '../../src/policy/compile/facts.ts';
import type { Entity, PodEntity } from '../../src/policy/model/entity.ts';
import { type Evaluation, evaluate } from '../../src/policy/model/evaluate.ts';
import {
  type EntityMatcher,
  type Known,
  knownAs,
  type Matcher,
  netMatcher,
} from '../../src/policy/model/matcher.ts';
import {
  type Action,
  type Direction,
  inOrder,
  type Peer,
  type Policy,
  type Rule,
  type Tier,
} from '../../src/policy/model/policy.ts';
import { type Flow, ICMP, type Ports, SCTP, TCP, type Traffic, UDP } from '../../src/policy/model/traffic.ts';

const LABELS = ['a', 'b', 'c'] as const;
const label = fc.constantFrom(...LABELS);
const port = fc.constantFrom(0, 1, 79, 80, 81, 443, 8080, 65535);
const names = fc.constantFrom('http', 'dns');

const pods = (family: 4 | 6): fc.Arbitrary<PodEntity[]> =>
  fc
    .array(
      fc.record({
        labels: fc.subarray([...LABELS]),
        ports: fc.uniqueArray(fc.record({ name: names, protocol: fc.constantFrom(TCP, UDP), port }), {
          maxLength: 2,
          selector: ({ name }) => name,
        }),
      }),
      { minLength: 1, maxLength: 6 },
    )
    .map((all) =>
      all.map(({ labels, ports }, i) => ({
        kind: 'pod' as const,
        namespace: 'default',
        name: `p${i}`,
        labels: Object.fromEntries(labels.map((each) => [each, ''])),
        namespaceLabels: {},
        serviceAccount: 'default',
        serviceAccountLabels: {},
        ports,
        addresses: [parseIp(family === 4 ? `10.0.0.${i + 1}` : `fd00::${i + 1}`)],
      })),
    );

export const labelled = (text: string): EntityMatcher => ({
  kind: 'labelled',
  text: `pods ${text}`,
  selects: ({ labels }) => text in labels,
});
const NETS4 = ['0.0.0.0/0', '10.0.0.0/24', '10.0.0.0/30', '10.0.0.2/32', '192.0.2.0/24', '192.0.2.128/25'];
const NETS6 = ['::/0', 'fd00::/64', 'fd00::/126', 'fd00::2/128', '2001:db8::/32', '2001:db8::8000/113'];
const matcher = (family: 4 | 6): fc.Arbitrary<Matcher> =>
  fc.oneof(
    label.map(labelled),
    fc
      .subarray(family === 4 ? NETS4 : NETS6, { minLength: 1 })
      .map((nets) => netMatcher(nets.map(parseCidr))),
    fc
      .constantFrom('www', 'ftp')
      .map((name) => ({ kind: 'names' as const, text: `name ${name}`, names: [name] })),
  );
const peer = (family: 4 | 6): fc.Arbitrary<Peer> =>
  fc.record({
    are: fc.array(matcher(family), { maxLength: 2 }),
    areNot: fc.array(matcher(family), { maxLength: 1 }),
  });

const range = fc.tuple(port, port).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const ports: fc.Arbitrary<Ports> = fc.record({
  ranges: fc.array(range, { maxLength: 2 }),
  names: fc.array(names, { maxLength: 1 }),
});
const traffic: fc.Arbitrary<Traffic> = fc.oneof(
  fc.record({ protocol: fc.constantFrom(TCP, UDP, SCTP), ports, notPorts: ports }, { requiredKeys: [] }),
  fc.record({ notProtocol: fc.constantFrom(TCP, ICMP) }),
  fc.record({ protocol: fc.constant(ICMP) }),
  fc.record({
    protocol: fc.constant(ICMP),
    icmp: fc.record({ type: fc.constantFrom(0, 8), code: fc.constantFrom(0, 3) }, { requiredKeys: ['type'] }),
  }),
  fc.record({ protocol: fc.constant(ICMP), notIcmp: fc.record({ type: fc.constantFrom(0, 8) }) }),
  fc.record({ family: fc.constantFrom<4 | 6>(4, 6) }),
);

const rule = (family: 4 | 6, actions: readonly Action[]): fc.Arbitrary<Omit<Rule, 'name'>> =>
  fc.record(
    {
      action: fc.constantFrom(...actions),
      peers: fc.array(peer(family), { maxLength: 2 }),
      own: peer(family),
      traffic: fc.array(traffic, { minLength: 1, maxLength: 2 }),
    },
    { requiredKeys: ['action'] },
  );

const tier = (family: 4 | 6): fc.Arbitrary<Tier> =>
  fc
    .constantFrom<readonly Action[]>(['allow'], ['allow', 'deny', 'pass', 'log'])
    .chain((actions) => {
      const rules = fc
        .array(rule(family, actions), { maxLength: 4 })
        .map((all): Rule[] => all.map((each, i) => ({ ...each, name: `rule[${i}]` })));
      const policy = fc.record(
        { subject: label, order: fc.nat(3), ingress: rules, egress: rules },
        { requiredKeys: ['subject', 'order'] },
      );
      return fc.record({
        order: fc.nat(3),
        otherwise: fc.constantFrom<'deny' | 'pass'>('deny', 'pass'),
        policies: fc.array(policy, { maxLength: 3 }).map((all) =>
          all.map(
            ({ subject, ...each }, i): Policy => ({
              ...each,
              kind: 'Test',
              name: `p${i}`,
              subject: { text: subject, selects: ({ labels }) => subject in labels },
            }),
          ),
        ),
      });
    })
    .map((each) => ({ ...each, name: `t${each.order}` }));

/** Of pods, networks and strangers in these worlds. */
export const ADDRESSES = {
  4: [
    '10.0.0.1',
    '10.0.0.2',
    '10.0.0.3',
    '10.0.0.4',
    '10.0.0.99',
    '192.0.2.1',
    '192.0.2.200',
    '198.51.100.1',
    '8.8.8.8',
  ],
  6: ['fd00::1', 'fd00::2', 'fd00::3', 'fd00::4', 'fd00::99', '2001:db8::1', '2001:db8:1::1', '2001::1'],
};

/** Any policies of any kind about up to six pods, some of them this node's. */
export const facts = (family: 4 | 6): fc.Arbitrary<PolicyFacts> =>
  fc
    .record({
      entities: pods(family),
      tiers: fc.array(tier(family), { minLength: 1, maxLength: 3 }),
      set: fc.record({ labels: fc.subarray([...LABELS]), nets: fc.subarray(family === 4 ? NETS4 : NETS6) }),
      local: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      logging: fc.constantFrom(undefined, { group: 7, denied: false }, { group: 7, denied: true }),
    })
    .map(({ entities, tiers, set, local, logging }) => {
      const networkSet: Entity = {
        kind: 'network-set',
        namespace: undefined,
        name: 'set',
        labels: Object.fromEntries(set.labels.map((each) => [each, ''])),
        namespaceLabels: {},
        nets: set.nets.map(parseCidr),
      };
      const outside = family === 4 ? '198.51.100.1' : '2001:db8:1::1';
      return {
        entities: [...entities, networkSet],
        names: new Map([[parseIp(outside), ['www']]]),
        tiers: inOrder(tiers),
        subjects: entities.filter((_, i) => local[i]).map((pod) => ({ pod, nets: [] })),
        subnets: [],
        families: [4, 6],
        devices: 'flt',
        bridge: 'cni0',
        logging,
      };
    });

export const flow = (family: 4 | 6): fc.Arbitrary<Flow> =>
  fc.oneof(
    fc.record({ family: fc.constant(family), protocol: fc.constantFrom(TCP, UDP, SCTP), port }),
    fc.record({
      family: fc.constant(family),
      protocol: fc.constant(ICMP),
      icmp: fc.record({ type: fc.constantFrom(0, 8, 13), code: fc.constantFrom(0, 3) }),
    }),
    fc.record({ family: fc.constant(family), protocol: fc.constantFrom(0, 47, 255) }),
  );

export type Outcome = { readonly verdict: 'accept' | 'drop'; readonly logged: readonly Logged[] };

/** The same of what a pod sends to its own node: nothing isolates it from that. */
export function outcomeAtNode(all: PolicyFacts, source: Ip, node: Ip, each: Flow): Outcome {
  const subject = all.subjects.find(({ pod }) => pod.addresses.includes(source));
  // Its table has no such hook where nothing is denied but by isolation.
  if (!subject) return { verdict: 'accept', logged: [] };
  const connection = { pod: subject.pod, own: known(all, source), peer: known(all, node), flow: each };
  const found = evaluate(all.tiers, 'egress', connection);
  const isDenied = found.verdict === 'deny' && found.reason.kind === 'rule';
  return { verdict: isDenied ? 'drop' : 'accept', logged: loggedFor(all, 'egress', isDenied, found) };
}

function loggedFor(
  { logging }: PolicyFacts,
  direction: Direction,
  isDenied: boolean,
  { passed }: Evaluation,
): Logged[] {
  const isAsked = passed.some(({ rule: { action } }) => action === 'log');
  if (!logging || !(isAsked || (isDenied && logging.denied))) return [];
  return [`${direction} ${isDenied ? 'denied' : 'logged'}`];
}

/**
 * What the rules themselves say, with what is true of every node besides, and what of it is written down.
 */
export function outcome(all: PolicyFacts, source: Ip, destination: Ip, each: Flow): Outcome {
  const logged: Logged[] = [];
  if (source === destination) return { verdict: 'accept', logged };
  const isAllowed = (direction: Direction, own: Ip, other: Ip): boolean => {
    const subject = all.subjects.find(({ pod }) => pod.addresses.includes(own));
    if (!subject) return true;
    const connection = { pod: subject.pod, own: known(all, own), peer: known(all, other), flow: each };
    const found = evaluate(all.tiers, direction, connection);
    logged.push(...loggedFor(all, direction, found.verdict === 'deny', found));
    return found.verdict === 'allow';
  };
  const isAccepted = isAllowed('egress', source, destination) && isAllowed('ingress', destination, source);
  return { verdict: isAccepted ? 'accept' : 'drop', logged };
}

export function verdict(...of: Parameters<typeof outcome>): Outcome['verdict'] {
  return outcome(...of).verdict;
}

const KNOWN = new WeakMap<PolicyFacts, Map<Ip, Known>>();

/** Remembered, as there are many connections to judge. */
function known(all: PolicyFacts, ip: Ip): Known {
  const byIp = KNOWN.get(all) ?? new Map<Ip, Known>();
  KNOWN.set(all, byIp);
  const made = byIp.get(ip) ?? knownAs(ip, all.entities, all.names.get(ip));
  byIp.set(ip, made);
  return made;
}
