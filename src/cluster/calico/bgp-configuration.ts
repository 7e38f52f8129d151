import { messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { Fields } from '../fields.ts';
import { type BgpConfiguration, type Community, DEFAULT_BGP_CONFIGURATION } from '../resources.ts';
import { type Fixed, parsed, refuseOthers, required, text } from './spec.ts';
import { asNumber, community, interfacePattern, network, seconds, secret } from './values.ts';

/** Maximum restart time in seconds: twelve bits (RFC 4724 §3). */
const MAX_RESTART = 4095;

const SERVICES = ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'];
const FIELDS = [
  ...SERVICES,
  'nodeToNodeMeshEnabled',
  'asNumber',
  'listenPort',
  'communities',
  'prefixAdvertisements',
  'nodeMeshPassword',
  'nodeMeshMaxRestartTime',
  'ignoredInterfaces',
];

const FIXED: Readonly<Record<string, Fixed>> = {
  logSeverityScreen: { only: ['Info'], why: 'BIRD’s log level is fixed; leave it out' },
  bindMode: { only: ['None'], why: 'BIRD listens on every address; leave it out' },
  serviceLoadBalancerAggregation: {
    only: ['Enabled'],
    why: 'networks are announced as a whole; leave it out',
  },
  programClusterRoutes: { only: ['Enabled'], why: 'BIRD installs the routes to other nodes; leave it out' },
  localWorkloadPeeringIPV4: { only: [], why: 'pods cannot be BGP peers' },
  localWorkloadPeeringIPV6: { only: [], why: 'pods cannot be BGP peers' },
};

/** Gets what is wrong with an entry of a list, and the entry as written. */
export type LeftOut = (problem: string, entry: unknown) => void;

/** `leftOut`: see `decode`. */
export function readBgpConfiguration(spec: Fields, leftOut?: LeftOut): BgpConfiguration {
  refuseOthers(spec, FIELDS, FIXED);
  const each = <T>(field: string, read: (entry: Fields) => T): T[] => {
    const entries = (spec.list(field) ?? []).map((value, i) => ({
      value,
      path: `${spec.path}.${field}[${i}]`,
    }));
    return entries.flatMap(({ value, path }) =>
      attempt(() => read(new Fields(value, path)), leftOut && ((problem) => leftOut(problem, value))),
    );
  };
  const named = new Map<string, Community>();
  each('communities', (entry) => addCommunity(named, entry));
  const nodeMeshPassword = secret(spec, 'nodeMeshPassword');
  const nodeMeshMaxRestartTime = seconds(spec, 'nodeMeshMaxRestartTime', MAX_RESTART);
  const defaults = DEFAULT_BGP_CONFIGURATION;
  return {
    nodeToNodeMeshEnabled: spec.boolean('nodeToNodeMeshEnabled') ?? defaults.nodeToNodeMeshEnabled,
    asNumber: asNumber(spec, 'asNumber') ?? defaults.asNumber,
    listenPort: spec.integer('listenPort', 0, 65535) || defaults.listenPort,
    serviceCidrs: [...new Set(SERVICES.flatMap((field) => each(field, (entry) => cidrOf(entry))))],
    communities: Object.fromEntries(named),
    prefixAdvertisements: each('prefixAdvertisements', (entry) => ({
      cidr: cidrOf(entry, ['communities']),
      communities: entry.parsedList('communities', (value) => namedOr(named, value)) ?? [],
    })),
    ...(nodeMeshPassword && { nodeMeshPassword }),
    ...(nodeMeshMaxRestartTime !== undefined && { nodeMeshMaxRestartTime }),
    ignoredInterfaces: spec.parsedList('ignoredInterfaces', interfacePattern) ?? [],
  };
}
/** The value in a list; none if it is invalid and may be left out. */
function attempt<T>(read: () => T, leftOut: ((problem: string) => void) | undefined): [T] | [] {
  try {
    return [read()];
  } catch (error) {
    if (!leftOut) throw error;
    leftOut(messageOf(error));
    return [];
  }
}

function cidrOf(fields: Fields, besides: readonly string[] = []): Cidr {
  refuseOthers(fields, ['cidr', ...besides]);
  return required(fields, 'cidr', parsed(fields, 'cidr', network));
}

function addCommunity(named: Map<string, Community>, entry: Fields): void {
  refuseOthers(entry, ['name', 'value']);
  const name = required(entry, 'name', text(entry, 'name'));
  if (!/^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,126}[a-zA-Z0-9])?$/.test(name)) {
    throw entry.invalid('name', `'${name}' must be letters, digits, '-', '_' and '.'`);
  }
  if (named.has(name)) throw entry.invalid('name', `'${name}' is defined twice`);
  named.set(name, required(entry, 'value', parsed(entry, 'value', written)));
}

function written(value: string): Community {
  const found = community(value);
  if (found) return found;
  throw new TypeError(
    `'${value}' is not a community; write two numbers below 65536, like 65000:100, or three below 4294967296, like 65000:1:2`,
  );
}

function namedOr(named: ReadonlyMap<string, Community>, value: string): Community {
  const found = named.get(value) ?? community(value);
  if (found) return found;
  const names = [...named.keys()];
  throw new TypeError(
    `'${value}' is neither a community, like 65000:100, nor the name of one${names.length ? ` (${names.join(', ')})` : ''}`,
  );
}
