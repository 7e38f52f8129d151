import { type Fixed, refuseOthers } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import { isIp, parseIp } from '../../ip/address.ts';
import { type Cidr, hostCidr, parseCidr } from '../../ip/cidr.ts';
import { type Matcher, netMatcher } from '../model/matcher.ts';
import type { Peer } from '../model/policy.ts';
import type { Ports } from '../model/traffic.ts';
import {
  type Condition,
  endpointMatcher,
  inNamespace,
  labelCondition,
  peerNamespaceCondition,
  serviceAccountCondition,
} from './endpoints.ts';
import { readPorts } from './ports.ts';

/** What a rule says about one end of a connection. */
export type EntityRule = {
  /** Absent: whoever. */
  readonly entity?: Peer;
  readonly ports?: Ports;
  readonly notPorts?: Ports;
};

const KNOWN = ['nets', 'notNets', 'selector', 'notSelector', 'namespaceSelector', 'serviceAccounts'];
const PORTS = ['ports', 'notPorts'];

const sourcePorts: Fixed = {
  only: [[]],
  why: 'connections are told apart by the ports of their destination; write destination.ports, or leave it out',
};
const UNSUPPORTED: Readonly<Record<string, Fixed>> = {
  services: { only: [], why: 'write the selector of the service’s pods, and their ports' },
  domains: { only: [[]], why: 'write nets, or a ClusterNetworkPolicy with domainNames' },
};

/**
 * Reads `source` or `destination` of a rule. In a policy of a namespace, selectors select there, unless there
 * is a namespaceSelector.
 */
export function readEntityRule(
  fields: Fields,
  { isSource, namespace }: { readonly isSource: boolean; readonly namespace: string | undefined },
): EntityRule {
  if (isSource) refuseOthers(fields, KNOWN, { ...UNSUPPORTED, ports: sourcePorts, notPorts: sourcePorts });
  else refuseOthers(fields, [...KNOWN, ...PORTS], UNSUPPORTED);
  const notLabels = labelCondition(fields, 'notSelector');
  const endpoints = endpointsOf(fields, namespace, notLabels !== undefined);
  const entity: Peer = {
    are: [...netsOf(fields, 'nets'), ...(endpoints ? [endpointMatcher(endpoints)] : [])],
    areNot: [...netsOf(fields, 'notNets'), ...(notLabels ? [endpointMatcher([notLabels])] : [])],
  };
  const [ports, notPorts] = isSource ? [] : PORTS.map((name) => readPorts(fields, name));
  return {
    ...(entity.are.length + entity.areNot.length > 0 && { entity }),
    ...(ports && { ports }),
    ...(notPorts && { notPorts }),
  };
}

/** Undefined: the rule asks for no endpoints, only for addresses, if at all. */
function endpointsOf(
  fields: Fields,
  namespace: string | undefined,
  isNegated: boolean,
): readonly Condition[] | undefined {
  const namespaces = peerNamespaceCondition(fields);
  const own = [labelCondition(fields, 'selector'), ...serviceAccountsOf(fields)].filter(
    (each) => each !== undefined,
  );
  if (namespaces) return [namespaces, ...own];
  if (namespace !== undefined && (own.length > 0 || isNegated)) return [inNamespace(namespace), ...own];
  return own.length > 0 ? own : undefined;
}

function serviceAccountsOf(fields: Fields): readonly (Condition | undefined)[] {
  const accounts = fields.object('serviceAccounts');
  if (!accounts) return [];
  refuseOthers(accounts, ['names', 'selector']);
  const names = new Set(accounts.parsedList('names', (name) => name) ?? []);
  const named: Condition = {
    text: `of service account ${[...names].map((name) => JSON.stringify(name)).join(' or ')}`,
    size: 1,
    holds: (endpoint) => endpoint.kind === 'pod' && names.has(endpoint.serviceAccount),
  };
  return [serviceAccountCondition(accounts, 'selector'), ...(names.size > 0 ? [named] : [])];
}

function netsOf(fields: Fields, name: string): readonly Matcher[] {
  const nets = fields.parsedList(name, networkOrAddress) ?? [];
  return nets.length > 0 ? [netMatcher(nets)] : [];
}

/** A network, whose host bits Calico masks off, or an address. */
export function networkOrAddress(text: string): Cidr {
  return isIp(text) ? hostCidr(parseIp(text)) : parseCidr(text);
}
