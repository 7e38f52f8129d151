import { titleNamed } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf, type Ip, isIp, parseIp } from '../../ip/address.ts';
import type { Entity, PodEntity } from '../model/entity.ts';
import { type Flow, hasPorts, ICMP, ICMPV6, protocolNamed } from '../model/traffic.ts';
import { type Cluster, type End, type Explanation, explain } from './explain.ts';

/** A question about a connection, as users ask it. */
export type Question = {
  /** See `endOf`. */
  readonly from: string;
  readonly to: string;
  /** `tcp`, in any case, or a number. */
  readonly protocol: string;
  /** At the destination. */
  readonly port?: number;
};

/** Says what becomes of a connection. Throws CONFIG_INVALID, with the part of the question that is wrong. */
export function answer(cluster: Cluster, { from, to, protocol, port }: Question): Explanation {
  const [source, destination] = pairOf(endOf(from, cluster.entities), endOf(to, cluster.entities));
  return explain(cluster, source, destination, flowOf(familyOf(source.ip), protocol, port));
}

/** What stands for the addresses of a domain name, which files do not tell: nobody's (RFC 2544, RFC 5180). */
const STAND_INS: readonly Ip[] = [parseIp('198.19.255.254'), parseIp('2001:2::fffe')];

/**
 * An end of a connection as users write it: `namespace/pod`, `pod` in the namespace default, an address, or a
 * domain name.
 */
export function endOf(text: string, entities: readonly Entity[]): End {
  const pods = entities.filter((entity): entity is PodEntity => entity.kind === 'pod');
  if (isIp(text)) {
    const ip = parseIp(text);
    const pod = pods.find(({ addresses }) => addresses.includes(ip));
    return { ip, ...(pod && { pod }) };
  }
  const title = titleNamed(text);
  const pod = pods.find(({ namespace, name }) => `${namespace}/${name}` === title);
  const [ip] = pod?.addresses ?? [];
  if (pod && ip) return { ip, pod };
  const [standIn] = STAND_INS;
  if (standIn && /^([a-z0-9_-]+\.)+[a-z0-9_-]+\.?$/i.test(text))
    return { ip: standIn, name: text.toLowerCase().replace(/\.$/, '') };
  throw new FlatnetError('is neither a pod that is known here, nor an address or a domain name', {
    code: 'CONFIG_INVALID',
    object: text,
    fix: `write NAMESPACE/POD${pods.length > 0 ? `, such as ${pods[0]?.namespace}/${pods[0]?.name}` : ''}`,
  });
}

/** Both ends in a family that they have in common. */
function pairOf(source: End, destination: End): readonly [End, End] {
  for (const family of FAMILIES) {
    const [from, to] = [inFamily(source, family), inFamily(destination, family)];
    if (from && to) return [from, to];
  }
  throw new FlatnetError(`${source.ip} and ${destination.ip} are of different families`, {
    code: 'CONFIG_INVALID',
  });
}

function inFamily(end: End, family: Family): End | undefined {
  const all = end.name === undefined ? (end.pod?.addresses ?? [end.ip]) : STAND_INS;
  const ip = all.find((each) => familyOf(each) === family);
  return ip && { ...end, ip };
}

/** A connection's protocol and port by what a user wrote. */
function flowOf(family: 4 | 6, protocol: string, port: number | undefined): Flow {
  const number = /^\d+$/.test(protocol) ? Number(protocol) : protocolNamed(protocol);
  if (number === undefined || number > 255) {
    throw new FlatnetError('is not a protocol', {
      code: 'CONFIG_INVALID',
      object: protocol,
      fix: 'write tcp, udp, sctp, icmp, or a number',
    });
  }
  if (hasPorts(number) && port === undefined)
    throw new FlatnetError('is needed', {
      code: 'CONFIG_INVALID',
      object: 'port',
      fix: 'add the destination’s',
    });
  const isEcho = number === ICMP || number === ICMPV6;
  return {
    family,
    protocol: number,
    ...(port !== undefined && { port }),
    ...(isEcho && { icmp: { type: number === ICMP ? 8 : 128, code: 0 } }),
  };
}
