import { familyOf, type Ip } from '../../ip/address.ts';
import { elementOf, type PassingElement } from '../../linux/nftables/values/element.ts';
import type { Connection } from '../compile/verdicts.ts';
import { hasPorts, TCP } from '../model/traffic.ts';
import { type Ended, endedSet, silencedSet } from './table.ts';

/** Milliseconds for which the kernel itself takes an idle connection for one. */
const TIMEOUTS: Readonly<Record<Ended, number>> = {
  // nf_conntrack_tcp_timeout_established.
  streams: 5 * 24 * 60 * 60_000,
  // nf_conntrack_udp_timeout_stream.
  datagrams: 2 * 60_000,
};

/** What a connection counts as; undefined for a protocol without ports, whose answers open no connection. */
export function endedAs({ flow: { protocol, port } }: Connection): Ended | undefined {
  if (!hasPorts(protocol) || port === undefined) return undefined;
  return protocol === TCP ? 'streams' : 'datagrams';
}

/**
 * What keeps a connection from going on once it has been ended, and others of the same client with the same
 * port of the server, which are denied like it.
 */
export function endedElement(of: Ended, { source, destination, flow }: Connection): PassingElement {
  const key = [source, destination, flow.protocol, flow.port ?? 0] as const;
  return { ...elementOf(endedSet(of, familyOf(source)), key), timeout: TIMEOUTS[of] };
}

/** What keeps all streams of a pod from going on that the kernel does not know. */
export function silencedElement(pod: Ip): PassingElement {
  return { ...elementOf(silencedSet(familyOf(pod)), [pod]), timeout: TIMEOUTS.streams };
}
