import { Fields } from '../../cluster/fields.ts';
import type { PortRange } from '../../cluster/port-range.ts';
import { contains, parseCidr } from '../../ip/cidr.ts';
import { excerpt } from '../../problem.ts';
import { type Matcher, netMatcher } from '../model/matcher.ts';
import { attempt, type PolicyObject } from '../model/object.ts';
import { DIRECTIONS, type Direction, type Peer, type Policy, type Rule } from '../model/policy.ts';
import { SCTP, TCP, type Traffic, UDP } from '../model/traffic.ts';
import { readLabelSelector } from './label-selector.ts';
import { podMatcher } from './matchers.ts';

/**
 * The tier of NetworkPolicies, which is Calico's: who is selected by one of its policies is isolated but for
 * what they allow.
 */
export const DEFAULT_TIER = { name: 'default', order: 1_000_000, otherwise: 'deny' } as const;

/** Where NetworkPolicies stand among Calico's policies in that tier, which calls them so. */
const ORDER = 1000;
const sortName = (name: string): string => `knp.default.${name}`;

const TYPES = { Ingress: 'ingress', Egress: 'egress' } as const satisfies Record<string, Direction>;
const PEERS = { ingress: 'from', egress: 'to' } as const;
const PROTOCOLS = { TCP, UDP, SCTP } as const;

/**
 * Reads a NetworkPolicy of `networking.k8s.io/v1`, with its defaults. Throws CONFIG_INVALID naming the field:
 * what is not known is refused, as a newer API may mean less by it.
 */
export function readNetworkPolicy({ namespace, name, spec }: PolicyObject): Policy {
  const subject = podMatcher({
    namespace,
    pods: readLabelSelector(spec.object('podSelector') ?? new Fields({})),
  });
  const rules = {
    ingress: readRules(spec, 'ingress', namespace),
    egress: readRules(spec, 'egress', namespace),
  };
  const types = readTypes(spec) ?? (rules.egress.length > 0 ? DIRECTIONS : (['ingress'] as const));
  spec.refuseUnread();
  return policyOf({ namespace, name }, { text: subject.text, selects: subject.selects }, types, rules);
}

/**
 * What is in force of a policy that cannot be read: its pods, as far as they are known, are isolated in the
 * directions that it may be about.
 */
export function closedNetworkPolicy({ namespace, name, spec }: PolicyObject): Policy {
  const selector = attempt(() => readLabelSelector(spec.object('podSelector') ?? new Fields({})));
  const pods = podMatcher({ namespace, ...(selector && { pods: selector }) });
  const types = attempt(() => readTypes(spec)) ?? DIRECTIONS;
  return policyOf({ namespace, name }, pods, types, { ingress: [], egress: [] });
}

function policyOf(
  { namespace, name }: Pick<PolicyObject, 'namespace' | 'name'>,
  subject: Policy['subject'],
  types: readonly Direction[],
  rules: Readonly<Record<Direction, readonly Rule[]>>,
): Policy {
  return {
    kind: 'NetworkPolicy',
    namespace,
    name,
    order: ORDER,
    sortName: sortName(name),
    subject,
    ...(types.includes('ingress') && { ingress: rules.ingress }),
    ...(types.includes('egress') && { egress: rules.egress }),
  };
}

/** Undefined: the default, which depends on the rules. */
function readTypes(spec: Fields): readonly Direction[] | undefined {
  const types = spec.parsedList('policyTypes', (text) => {
    const found = Object.entries(TYPES).find(([name]) => name === text);
    if (!found) throw new TypeError(`must be Ingress or Egress, not '${excerpt(text, 60)}'`);
    return found[1];
  });
  return types && types.length > 0 ? types : undefined;
}

function readRules(spec: Fields, direction: Direction, namespace: string): readonly Rule[] {
  return (spec.list(direction) ?? []).map((value, i) => {
    const fields = new Fields(value, `${spec.path}.${direction}[${i}]`);
    const peers = each(fields, PEERS[direction]).map((peer) => readPeer(peer, namespace));
    const traffic = each(fields, 'ports').map(readPort);
    fields.refuseUnread();
    return {
      name: `${direction}[${i}]`,
      action: 'allow',
      ...(peers.length > 0 && { peers }),
      ...(traffic.length > 0 && { traffic }),
    };
  });
}

function each(fields: Fields, name: string): readonly Fields[] {
  return (fields.list(name) ?? []).map((value, i) => new Fields(value, `${fields.path}.${name}[${i}]`));
}

function readPeer(fields: Fields, namespace: string): Peer {
  const [pods, namespaces] = [fields.object('podSelector'), fields.object('namespaceSelector')];
  const block = fields.object('ipBlock');
  if (block && (pods ?? namespaces))
    throw fields.invalid('ipBlock', 'must be alone: its addresses have no labels');
  const peer = block ? readBlock(block) : readPods(fields, { pods, namespaces }, namespace);
  fields.refuseUnread();
  return peer;
}

function readPods(
  fields: Fields,
  { pods, namespaces }: { readonly pods: Fields | undefined; readonly namespaces: Fields | undefined },
  namespace: string,
): Peer {
  if (!pods && !namespaces)
    throw fields.invalid('podSelector', 'is missing, and so are namespaceSelector and ipBlock');
  const matcher = podMatcher({
    ...(namespaces ? { namespaces: readLabelSelector(namespaces) } : { namespace }),
    ...(pods && { pods: readLabelSelector(pods) }),
  });
  return { are: [matcher], areNot: [] };
}

function readBlock(fields: Fields): Peer {
  const cidr = fields.parsed('cidr', parseCidr);
  if (cidr === undefined) throw fields.invalid('cidr', 'is missing');
  const except = fields.parsedList('except', (text) => {
    const net = parseCidr(text);
    if (net === cidr || !contains(cidr, net)) throw new TypeError(`${net} is not a part of ${cidr}`);
    return net;
  });
  const areNot: Matcher[] = except && except.length > 0 ? [netMatcher(except)] : [];
  return { are: [netMatcher([cidr])], areNot };
}

function readPort(fields: Fields): Traffic {
  const written = fields.string('protocol') ?? 'TCP';
  const protocol = Object.entries(PROTOCOLS).find(([name]) => name === written)?.[1];
  if (protocol === undefined)
    throw fields.invalid('protocol', `must be TCP, UDP or SCTP, not '${excerpt(written, 60)}'`);
  const port = fields.raw('port');
  const last = fields.integer('endPort', 1, 65535);
  if (port === undefined && last !== undefined) throw fields.invalid('endPort', 'needs port');
  const range = port === undefined ? undefined : readRange(fields, port, last);
  fields.refuseUnread();
  if (range === undefined) return { protocol };
  const ports = typeof range === 'string' ? { ranges: [], names: [range] } : { ranges: [range], names: [] };
  return { protocol, ports };
}

function readRange(fields: Fields, port: unknown, last: number | undefined): PortRange | string {
  if (typeof port === 'string') {
    if (last !== undefined)
      throw fields.invalid('endPort', `needs a numeric port, not '${excerpt(port, 60)}'`);
    if (!/^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/.test(port) || port.includes('--'))
      throw fields.invalid('port', `'${excerpt(port, 60)}' is no port’s name`);
    return port;
  }
  const first = fields.integer('port', 1, 65535) ?? 0;
  if (last !== undefined && last < first) throw fields.invalid('endPort', `${last} is below port ${first}`);
  return { first, last: last ?? first };
}
