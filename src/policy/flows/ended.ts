import { familyOf } from '../../ip/address.ts';
import { elementOf, type PassingElement } from '../../linux/nftables/values/element.ts';
import type { Connection } from '../compile/verdicts.ts';
import { hasPorts, TCP } from '../model/traffic.ts';
import { endedSet } from './table.ts';

/** As long as the kernel itself takes an idle connection for one (nf_conntrack_tcp_timeout_established). */
const TCP_TIMEOUT = 5 * 24 * 60 * 60_000;
/** Likewise (nf_conntrack_udp_timeout_stream). */
const TIMEOUT = 2 * 60_000;

/**
 * What keeps a connection from going on once it has been ended, and others of the same client with the same
 * port of the server, which are denied like it. Undefined for a protocol without ports, whose answers open
 * no connection.
 */
export function endedElement({ source, destination, flow }: Connection): PassingElement | undefined {
  const { protocol, port } = flow;
  if (!hasPorts(protocol) || port === undefined) return undefined;
  const element = elementOf(endedSet(familyOf(source)), [source, destination, protocol, port]);
  return { ...element, timeout: protocol === TCP ? TCP_TIMEOUT : TIMEOUT };
}
