import type { PortRange } from '../../cluster/port-range.ts';
import type { Family } from '../../ip/address.ts';
import type { NamedPort } from './entity.ts';

/** IP protocols by their number. */
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;
export const SCTP = 132;
const UDPLITE = 136;

const NAMES: ReadonlyMap<number, string> = new Map([
  [ICMP, 'ICMP'],
  [TCP, 'TCP'],
  [UDP, 'UDP'],
  [ICMPV6, 'ICMPv6'],
  [SCTP, 'SCTP'],
  [UDPLITE, 'UDPLite'],
]);

/** `TCP`; a protocol without a name by its number. */
export function protocolText(protocol: number): string {
  return NAMES.get(protocol) ?? `protocol ${protocol}`;
}

/** A protocol by its name, in any case. */
export function protocolNamed(text: string): number | undefined {
  return [...NAMES].find(([, name]) => name.toLowerCase() === text.toLowerCase())?.[0];
}

/** The protocols with ports, at the same place in their headers as TCP's. */
export const WITH_PORTS: readonly number[] = [TCP, UDP, SCTP, UDPLITE];

export function hasPorts(protocol: number): boolean {
  return WITH_PORTS.includes(protocol);
}

/** Conditions on a connection apart from its ends: all that are present must hold. */
export type Traffic = {
  readonly family?: Family;
  readonly protocol?: number;
  readonly notProtocol?: number;
  /** Of the connection's destination. With names, any of both. */
  readonly ports?: Ports;
  readonly notPorts?: Ports;
  readonly icmp?: IcmpKind;
  readonly notIcmp?: IcmpKind;
};

/** Any of the ranges, or of the named ports of the pod whose port it is. */
export type Ports = { readonly ranges: readonly PortRange[]; readonly names: readonly string[] };
export type IcmpKind = { readonly type: number; readonly code?: number };

/** A connection's first packet, apart from its addresses. */
export type Flow = {
  readonly family: Family;
  readonly protocol: number;
  readonly port?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
};

/** Whether the conditions hold for a connection. `named`: the ports of the pod at its destination. */
export function carries(traffic: Traffic, flow: Flow, named: readonly NamedPort[]): boolean {
  const { family, protocol, notProtocol, ports, notPorts, icmp, notIcmp } = traffic;
  const at = (set: Ports): boolean =>
    flow.port !== undefined && hasPort(set, flow.protocol, flow.port, named);
  return (
    (family === undefined || family === flow.family) &&
    (protocol === undefined || protocol === flow.protocol) &&
    notProtocol !== flow.protocol &&
    (ports === undefined || at(ports)) &&
    !(notPorts && at(notPorts)) &&
    (icmp === undefined || isOfKind(icmp, flow)) &&
    !(notIcmp && isOfKind(notIcmp, flow))
  );
}

function hasPort(
  { ranges, names }: Ports,
  protocol: number,
  port: number,
  of: readonly NamedPort[],
): boolean {
  return (
    ranges.some(({ first, last }) => first <= port && port <= last) ||
    of.some((each) => each.protocol === protocol && each.port === port && names.includes(each.name))
  );
}

function isOfKind({ type, code }: IcmpKind, { icmp }: Flow): boolean {
  return icmp !== undefined && icmp.type === type && (code === undefined || icmp.code === code);
}
