import { BITS, familyOf, type Ip, ipToBytes } from '../ip/address.ts';
import { addressFamily } from './netlink/family.ts';
import { type DumpRequest, type Message, Writer } from './netlink/message.ts';
import { decodeRoute, type Route, RTA_DST, RTA_OIF, RTM_GETROUTE, RTMSG_SIZE } from './route.ts';

const RTA_SRC = 2;
const RTA_IIF = 3;
const RTA_MARK = 16;
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTM_F_FIB_MATCH = 0x2000;

/**
 * Like `ip route get DST`: the route a packet would take. ENETUNREACH if there is none. `fibMatch`: the
 * matching route of the table itself (`ip route get fibmatch`), with all its next hops, and without cached
 * path MTUs (RFC 1191).
 */
export function routeGet(
  dst: Ip,
  how: { from?: Ip; oif?: number; iif?: number; mark?: number; fibMatch?: boolean } = {},
): DumpRequest<Route> {
  const family = familyOf(dst);
  // Without the flag, IPv4 always reports the main table; IPv6 always reports the right one and rejects the
  // flag.
  const lookupTable = family === 4 ? RTM_F_LOOKUP_TABLE : 0;
  return {
    operation: 'route get',
    object: dst,
    type: RTM_GETROUTE,
    flags: 0,
    payload: new Writer()
      .header(RTMSG_SIZE, (header) => {
        header[0] = addressFamily(family);
        header[1] = BITS[family];
        header[2] = how.from ? BITS[family] : 0;
        header.writeUInt32LE(lookupTable | (how.fibMatch ? RTM_F_FIB_MATCH : 0), 8);
      })
      .bytes(RTA_DST, ipToBytes(dst))
      .bytes(RTA_SRC, how.from && ipToBytes(how.from))
      .u32(RTA_OIF, how.oif)
      .u32(RTA_IIF, how.iif)
      .u32(RTA_MARK, how.mark)
      .finish(),
    decode: decodeRoute,
  };
}

/**
 * The same lookup for many destinations. Most share a route, and with `fibMatch` the kernel then answers with
 * the same bytes: they are decoded once.
 */
export function routeGets(
  destinations: readonly Ip[],
  how: (dst: Ip) => Parameters<typeof routeGet>[1],
): DumpRequest<Route>[] {
  let last: { readonly payload: Buffer; readonly route: Route | undefined } | undefined;
  const decode = (message: Message): Route | undefined => {
    if (!last?.payload.equals(message.payload))
      last = { payload: Buffer.from(message.payload), route: decodeRoute(message) };
    return last.route;
  };
  return destinations.map((dst) => ({ ...routeGet(dst, how(dst)), decode }));
}
