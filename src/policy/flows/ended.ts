import { familyOf, type Ip } from '../../ip/address.ts';
import { elementOf, type PassingElement } from '../../linux/nftables/values/element.ts';
import type { Connection } from '../compile/verdicts.ts';
import { hasPorts, ICMP, ICMPV6, TCP } from '../model/traffic.ts';
import { type Ended, endedSet, pairSet, REMEMBERED, silencedSet } from './table.ts';

/** What a connection counts as; undefined for ICMP, whose answers open no connection. */
export function endedAs({ flow: { protocol, port } }: Connection): Ended | undefined {
  if (protocol === ICMP || protocol === ICMPV6) return undefined;
  if (!hasPorts(protocol) || port === undefined) return 'pairs';
  return protocol === TCP ? 'streams' : 'datagrams';
}

/**
 * What keeps a connection from going on once it has been ended, and others that are denied like it: of the
 * same client with the same port of the server or, as one of `pairs`, by the same protocol.
 */
export function endedElement(of: Ended, { source, destination, flow }: Connection): PassingElement {
  const family = familyOf(source);
  const [ends, timeout] = [[source, destination, flow.protocol] as const, REMEMBERED[of]];
  return of === 'pairs'
    ? { ...elementOf(pairSet(family), ends), timeout }
    : { ...elementOf(endedSet(of, family), [...ends, flow.port ?? 0]), timeout };
}

/** What keeps all streams of a pod from going on that the kernel does not know. */
export function silencedElement(pod: Ip): PassingElement {
  return { ...elementOf(silencedSet(familyOf(pod)), [pod]), timeout: REMEMBERED.streams };
}
