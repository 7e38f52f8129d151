import { type Fixed, refuseOthers, required, word } from '../../cluster/calico/spec.ts';
import { Fields } from '../../cluster/fields.ts';
import type { Family } from '../../ip/address.ts';
import type { Direction, Rule } from '../model/policy.ts';
import {
  ICMP,
  ICMPV6,
  type IcmpKind,
  protocolNamed,
  SCTP,
  TCP,
  type Traffic,
  UDP,
} from '../model/traffic.ts';
import { type EntityRule, readEntityRule } from './entity-rule.ts';

const ACTIONS = { Allow: 'allow', Deny: 'deny', Log: 'log', Pass: 'pass' } as const;

const KNOWN = [
  'action',
  'ipVersion',
  'protocol',
  'notProtocol',
  'icmp',
  'notICMP',
  'source',
  'destination',
  'metadata',
];
const UNSUPPORTED: Readonly<Record<string, Fixed>> = {
  http: { only: [], why: 'connections are told apart by addresses and ports; a proxy must look at requests' },
};

/**
 * Reads a rule. Of its two ends, the pod that the policy is about is the destination in `ingress` and the
 * source in `egress`. Throws CONFIG_INVALID naming the field.
 */
export function readRule(
  fields: Fields,
  {
    direction,
    index,
    namespace,
  }: { readonly direction: Direction; readonly index: number; readonly namespace: string | undefined },
): Rule {
  refuseOthers(fields, KNOWN, UNSUPPORTED);
  const words = Object.keys(ACTIONS) as (keyof typeof ACTIONS)[];
  const action = ACTIONS[required(fields, 'action', word(fields, 'action', words))];
  const end = (name: string): EntityRule =>
    readEntityRule(fields.object(name) ?? new Fields({}), { isSource: name === 'source', namespace });
  const [source, destination] = [end('source'), end('destination')];
  const [peer, own] = direction === 'ingress' ? [source, destination] : [destination, source];
  const traffic = readTraffic(fields, destination);
  return {
    name: `${direction}[${index}]`,
    action,
    ...(peer.entity && { peers: [peer.entity] }),
    ...(own.entity && { own: own.entity }),
    ...(Object.keys(traffic).length > 0 && { traffic: [traffic] }),
  };
}

function readTraffic(fields: Fields, { ports, notPorts }: EntityRule): Traffic {
  const [protocol, notProtocol] = ['protocol', 'notProtocol'].map((name) => readProtocol(fields, name));
  const family = readFamily(fields);
  const [icmp, notIcmp] = ['icmp', 'notICMP'].map((name) => readIcmp(fields, name, protocol));
  // Calico takes names of ports for those of TCP where there is no protocol.
  const isNamed = protocol === undefined && ports !== undefined && ports.ranges.length === 0;
  const of = isNamed ? TCP : protocol;
  for (const [name, set] of Object.entries({ ports, notPorts })) {
    if (set && (of === undefined || ![TCP, UDP, SCTP].includes(of)))
      throw fields.invalid(`destination.${name}`, 'needs a protocol that has ports: TCP, UDP or SCTP');
  }
  return {
    ...(family !== undefined && { family }),
    ...(of !== undefined && { protocol: of }),
    ...(notProtocol !== undefined && { notProtocol }),
    ...(ports && { ports }),
    ...(notPorts && { notPorts }),
    ...(icmp && { icmp }),
    ...(notIcmp && { notIcmp }),
  };
}

/** By name or number. */
function readProtocol(fields: Fields, name: string): number | undefined {
  if (typeof fields.raw(name) !== 'string') return fields.integer(name, 1, 255);
  return fields.parsed(name, (text) => {
    const number = protocolNamed(text);
    if (number === undefined)
      throw new TypeError('must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number from 1 to 255');
    return number;
  });
}

/** ICMP and ICMPv6, by name, are each of one family. */
function readFamily(fields: Fields): Family | undefined {
  const written = fields.integer('ipVersion', 4, 6);
  const protocol = typeof fields.raw('protocol') === 'string' ? readProtocol(fields, 'protocol') : undefined;
  const implied = protocol === ICMP ? 4 : protocol === ICMPV6 ? 6 : undefined;
  if (written === undefined) return implied;
  if (written !== 4 && written !== 6) throw fields.invalid('ipVersion', 'must be 4 or 6');
  if (implied !== undefined && implied !== written)
    throw fields.invalid('ipVersion', `must be ${implied} with this protocol`);
  return written;
}

function readIcmp(fields: Fields, name: string, protocol: number | undefined): IcmpKind | undefined {
  const icmp = fields.object(name);
  if (!icmp) return undefined;
  refuseOthers(icmp, ['type', 'code']);
  const [type, code] = ['type', 'code'].map((each) => icmp.integer(each, 0, 255));
  if (protocol !== ICMP && protocol !== ICMPV6) throw fields.invalid(name, 'needs protocol ICMP or ICMPv6');
  if (type === undefined && code !== undefined) throw icmp.invalid('code', 'needs type');
  if (type === undefined) return undefined;
  return code === undefined ? { type } : { type, code };
}
