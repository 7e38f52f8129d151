import { Fields } from '../../cluster/fields.ts';
import type { PortRange } from '../../cluster/port-range.ts';
import { parseCidr } from '../../ip/cidr.ts';
import { excerpt } from '../../problem.ts';
import { type EntityMatcher, type Matcher, netMatcher } from '../model/matcher.ts';
import { attempt, type PolicyObject } from '../model/object.ts';
import {
  type Action,
  DIRECTIONS,
  type Direction,
  type Peer,
  type Policy,
  type Rule,
  type TierSettings,
} from '../model/policy.ts';
import { conditionText } from '../model/text.ts';
import { SCTP, TCP, type Traffic, UDP } from '../model/traffic.ts';
import { readLabelSelector } from './label-selector.ts';
import { nodeMatcher, podMatcher } from './matchers.ts';

/** The tiers of ClusterNetworkPolicies, before and after that of NetworkPolicies, as in Calico. */
export const CLUSTER_TIERS = {
  Admin: { name: 'kube-admin', order: 1000, otherwise: 'pass' },
  Baseline: { name: 'kube-baseline', order: 10_000_000, otherwise: 'pass' },
} as const satisfies Record<string, TierSettings>;

export type ClusterTier = keyof typeof CLUSTER_TIERS;

const ACTIONS = { Accept: 'allow', Deny: 'deny', Pass: 'pass' } as const satisfies Record<string, Action>;
const PEERS = { ingress: 'from', egress: 'to' } as const;
const PROTOCOLS = { tcp: TCP, udp: UDP, sctp: SCTP } as const;
/** The most rules of a direction, peers and protocols of a rule, and networks and names of a peer. */
const MOST = 25;

/**
 * Reads a ClusterNetworkPolicy of `policy.networking.k8s.io`, v1alpha2 or v1beta1, with its experimental
 * fields. A peer or a protocol of which no field is known comes from a newer API and closes the rule: it
 * accepts nothing, or it denies everything. Throws CONFIG_INVALID naming the field.
 */
export function readClusterNetworkPolicy({ name, spec }: PolicyObject): {
  readonly tier: ClusterTier;
  readonly policy: Policy;
} {
  const tier = oneOf(spec, 'tier', Object.keys(CLUSTER_TIERS) as ClusterTier[]);
  const order = spec.integer('priority', 0, 1000);
  if (order === undefined) throw spec.invalid('priority', 'is missing');
  const subject = readSubject(spec);
  const [ingress, egress] = DIRECTIONS.map((direction) => readRules(spec, direction, tier));
  spec.refuseUnread();
  return {
    tier,
    policy: {
      kind: 'ClusterNetworkPolicy',
      name,
      order,
      subject: { text: subject.text, selects: subject.selects },
      ...(ingress && { ingress }),
      ...(egress && { egress }),
    },
  };
}

/**
 * What is in force of a policy that cannot be read: it denies its pods everything, as far as these are known,
 * and else all pods, after the other policies of its tier.
 */
export function closedClusterNetworkPolicy({
  name,
  spec,
}: PolicyObject): ReturnType<typeof readClusterNetworkPolicy> {
  const subject =
    attempt(() => readSubject(spec)) ?? podMatcher({ namespaces: readLabelSelector(new Fields({})) });
  const tier = attempt(() => oneOf(spec, 'tier', Object.keys(CLUSTER_TIERS) as ClusterTier[])) ?? 'Admin';
  const order = attempt(() => spec.integer('priority', 0, 1000)) ?? 1001;
  const rules: readonly Rule[] = [{ name: 'unreadable', action: 'deny' }];
  const policy = { kind: 'ClusterNetworkPolicy', name, order, subject, ingress: rules, egress: rules };
  return { tier, policy };
}

function readSubject(spec: Fields): EntityMatcher {
  const fields = spec.object('subject');
  if (!fields) throw spec.invalid('subject', 'is missing');
  const found = podsOf(fields);
  if (!found)
    throw fields.invalid('namespaces', 'is missing, and so is pods: exactly one of them must be there');
  fields.refuseUnread();
  return found;
}

/** Undefined without any rules, which leave the direction alone. */
function readRules(spec: Fields, direction: Direction, tier: ClusterTier): readonly Rule[] | undefined {
  const rules = each(spec, direction);
  return rules.length === 0 ? undefined : rules.map((fields, i) => readRule(fields, i, direction, tier));
}

function readRule(fields: Fields, i: number, direction: Direction, tier: ClusterTier): Rule {
  const action = ACTIONS[oneOf(fields, 'action', Object.keys(ACTIONS) as (keyof typeof ACTIONS)[])];
  const given = fields.string('name');
  if (given !== undefined && given.length > 100)
    throw fields.invalid('name', 'must have at most 100 characters');
  const peers = each(fields, PEERS[direction]).map((peer) => readPeer(peer, direction, { action, tier }));
  if (peers.length === 0) throw fields.invalid(PEERS[direction], 'must not be empty');
  const areNamed = direction === 'ingress' || peers.every((peer) => !peer || peer.are[0]?.kind === 'pods');
  const traffic = each(fields, 'protocols').map((protocol) => readProtocol(protocol, areNamed));
  fields.refuseUnread();
  const name = given ? `${direction}[${i}] ${JSON.stringify(given)}` : `${direction}[${i}]`;
  if (![...peers, ...traffic].includes(undefined))
    return { name, action, peers: known(peers), ...(traffic.length > 0 && { traffic: known(traffic) }) };
  return action === 'allow' ? { name, action, peers: [] } : { name, action: 'deny' };
}

function known<T>(list: readonly (T | undefined)[]): readonly T[] {
  return list.filter((each) => each !== undefined);
}

/** Undefined: none of its fields is known. */
function readPeer(
  fields: Fields,
  direction: Direction,
  of: { readonly action: Action; readonly tier: ClusterTier },
): Peer | undefined {
  const matchers: (Matcher | undefined)[] = [podsOf(fields)];
  if (direction === 'egress') {
    const nodes = fields.object('nodes');
    const nets = atMost(fields, 'networks', fields.parsedList('networks', canonical));
    matchers.push(
      nodes && nodeMatcher(readLabelSelector(nodes)),
      nets && netMatcher(nets),
      namesOf(fields, of),
    );
  }
  const [only, ...others] = known(matchers);
  if (others.length > 0) throw fields.invalid('pods', 'must be alone: a peer is exactly one kind of thing');
  return only && { are: [only], areNot: [] };
}

function podsOf(fields: Fields): EntityMatcher | undefined {
  const [namespaces, pods] = [fields.object('namespaces'), fields.object('pods')];
  if (namespaces && pods) throw fields.invalid('namespaces', 'must be absent where there is pods');
  if (namespaces) return podMatcher({ namespaces: readLabelSelector(namespaces) });
  if (!pods) return undefined;
  const [namespaceSelector, podSelector] = ['namespaceSelector', 'podSelector'].map((name) =>
    readLabelSelector(pods.object(name) ?? new Fields({})),
  );
  pods.refuseUnread();
  return podMatcher({
    ...(namespaceSelector && { namespaces: namespaceSelector }),
    ...(podSelector && { pods: podSelector }),
  });
}

function namesOf(
  fields: Fields,
  { action, tier }: { readonly action: Action; readonly tier: ClusterTier },
): Matcher | undefined {
  const names = atMost(fields, 'domainNames', fields.parsedList('domainNames', domainName));
  if (!names) return undefined;
  if (action !== 'allow' || tier !== 'Admin')
    throw fields.invalid('domainNames', 'is for rules that accept, in the tier Admin');
  return { kind: 'names', text: conditionText(`names ${names.toSorted().join(', ')}`), names };
}

/** In lower case, and without a last dot. */
function domainName(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.replace(/^\*\./, '').split('.');
  if (labels.length < 2 || !labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?$/.test(label)))
    throw new TypeError(`'${excerpt(text, 80)}' is not a name like example.org or *.example.org`);
  return name;
}

function canonical(text: string): ReturnType<typeof parseCidr> {
  const net = parseCidr(text);
  if (net !== text) throw new TypeError(`'${excerpt(text, 60)}' must be written ${net}`);
  return net;
}

/** Undefined: none of its fields is known. */
function readProtocol(fields: Fields, areNamed: boolean): Traffic | undefined {
  const found: Traffic[] = Object.entries(PROTOCOLS).flatMap(([name, protocol]) => {
    const object = fields.object(name);
    return object ? [readPort(object, protocol)] : [];
  });
  const name = fields.string('destinationNamedPort');
  if (name !== undefined && !areNamed)
    throw fields.invalid('destinationNamedPort', 'needs peers that are pods: only they have named ports');
  if (name !== undefined) found.push({ ports: { ranges: [], names: [name] } });
  if (found.length > 1) throw fields.invalid('tcp', 'must be alone: a protocol is exactly one kind of thing');
  return found[0];
}

function readPort(fields: Fields, protocol: number): Traffic {
  const port = fields.object('destinationPort');
  const range = port && readPortRange(port);
  fields.refuseUnread();
  return range ? { protocol, ports: { ranges: [range], names: [] } } : { protocol };
}

function readPortRange(fields: Fields): PortRange {
  const [number, range] = [fields.integer('number', 1, 65535), fields.object('range')];
  if (number !== undefined && !range) return { first: number, last: number };
  if (number === undefined && range) return readRange(range);
  throw fields.invalid('number', 'or range must be there, and not both');
}

function readRange(fields: Fields): PortRange {
  const [first, last] = [fields.integer('start', 1, 65535), fields.integer('end', 1, 65535)];
  if (first === undefined || last === undefined || first >= last)
    throw fields.invalid('start', 'must be there and below end');
  return { first, last };
}

function each(fields: Fields, name: string): readonly Fields[] {
  const list = atMost(fields, name, fields.list(name)) ?? [];
  return list.map((value, i) => new Fields(value, `${fields.path}.${name}[${i}]`));
}

function atMost<T>(fields: Fields, name: string, list: readonly T[] | undefined): readonly T[] | undefined {
  if (list && list.length > MOST) throw fields.invalid(name, `must have at most ${MOST} entries`);
  return list;
}

function oneOf<T extends string>(fields: Fields, name: string, words: readonly T[]): T {
  const written = fields.string(name);
  const found = words.find((word) => word === written);
  if (found === undefined)
    throw fields.invalid(name, `must be ${words.join(' or ')}, not '${excerpt(written ?? '', 60)}'`);
  return found;
}
