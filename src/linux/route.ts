import { type Family, familyOf, type Ip, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { addressOf, type Cidr, lengthOf } from '../ip/cidr.ts';
import {
  type Encapsulation,
  encapsulationText,
  readEncapsulation,
  writeEncapsulation,
} from './encapsulation.ts';
import { addressFamily, ipFamily } from './netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  type Request,
  Writer,
} from './netlink/message.ts';
import {
  type Nexthop,
  RTNH_F_ONLINK,
  readGateway,
  readNexthops,
  writeGateway,
  writeNexthops,
} from './nexthop.ts';
import { RTPROT_BOOT } from './route-protocol.ts';

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

export const RTMSG_SIZE = 12;
export const RTA_DST = 1;
export const RTA_OIF = 4;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;

export const RT_TABLE_MAIN = 254;

export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
const RT_SCOPE_NOWHERE = 255;

const TYPES = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;

export type RouteType = keyof typeof TYPES;
const TYPE_NAMES = new Map<number, RouteType>(
  Object.entries(TYPES).map(([name, number]) => [number, name as RouteType]),
);

/** A route to a destination. Properties that `ip route` omits are omitted here. */
export type Route = {
  readonly dst: Cidr;
  /** Default: unicast. */
  readonly type?: RouteType | undefined;
  /** Interface index. */
  readonly dev?: number | undefined;
  /** The gateway; for an IPv4 destination it may be an IPv6 address (RFC 5549). */
  readonly via?: Ip | undefined;
  /** Treat the gateway as on-link even if no network there contains it. */
  readonly onlink?: boolean | undefined;
  /** Source address for packets that have none yet. */
  readonly src?: Ip | undefined;
  /** Lower is preferred. Default: 0 for IPv4, 1024 for IPv6. */
  readonly metric?: number | undefined;
  /** Default: 254, main. */
  readonly table?: number | undefined;
  /** Route protocol (RTPROT_*). Default: 3, boot, as in `ip route`. */
  readonly protocol?: number | undefined;
  /** RT_SCOPE_*. Default: derived from type and gateway, as by `ip route`. IPv6 has none. */
  readonly scope?: number | undefined;
  /** Path MTU in bytes. */
  readonly mtu?: number | undefined;
  /** The tunnel that its device, an `external` one, sends the packets into. */
  readonly encapsulation?: Encapsulation | undefined;
  /** Instead of `dev` and `via`: several next hops, chosen per flow. */
  readonly nexthops?: readonly Nexthop[] | undefined;
};

/**
 * Like `ip route replace`: replaces the route with the same destination, table and metric (IPv4: and type of
 * service), whatever its protocol or gateway.
 */
export function routeReplace(route: Route): Request {
  return newRoute('route replace', route, NLM_F_CREATE | NLM_F_REPLACE);
}

/** Like `ip route add`. EEXIST if one with the same destination, table and metric exists. */
export function routeAdd(route: Route): Request {
  return newRoute('route add', route, NLM_F_CREATE | NLM_F_EXCL);
}

/**
 * Like `ip route append`: adds it behind any with the same destination, table and metric; an IPv6 route with
 * a gateway becomes one more next hop of theirs. EEXIST if an equal one exists.
 */
export function routeAppend(route: Route): Request {
  return newRoute('route append', route, NLM_F_CREATE | NLM_F_APPEND);
}

/**
 * Like `ip route delete`: deletes the first route that matches all given properties; metric, protocol, type,
 * gateway and device match any if not given. ESRCH if there is none.
 */
export function routeDelete(route: Route): Request {
  return {
    operation: 'route delete',
    object: routeText(route),
    type: RTM_DELROUTE,
    flags: 0,
    payload: encode(route, {
      protocol: route.protocol ?? 0,
      scope: route.scope ?? RT_SCOPE_NOWHERE,
      type: route.type === undefined ? 0 : TYPES[route.type],
    }),
  };
}

/**
 * Like `ip route show table T`; all tables, protocols and types by default. The kernel does the filtering,
 * except for the protocols to leave out (`without`): their routes are not decoded.
 */
export function routeDump(filter: {
  family: Family;
  table?: number | undefined;
  protocol?: number | undefined;
  dev?: number | undefined;
  without?: ReadonlySet<number>;
}): DumpRequest<Route> {
  const { without } = filter;
  return {
    operation: 'route show',
    object: `IPv${filter.family}${filter.table === undefined ? '' : ` table ${filter.table}`}`,
    type: RTM_GETROUTE,
    flags: 0,
    payload: new Writer()
      .header(RTMSG_SIZE, (header) => {
        header[0] = addressFamily(filter.family);
        header[5] = filter.protocol ?? 0;
      })
      .u32(RTA_TABLE, filter.table)
      .u32(RTA_OIF, filter.dev)
      .finish(),
    decode: (message) => (without?.has(message.payload.readUInt8(5)) ? undefined : decodeRoute(message)),
    // A table does not exist until its first route is added.
    emptyOn: 'ENOENT',
  };
}

/** Decodes RTM_NEWROUTE and RTM_DELROUTE; undefined for other families. */
export function decodeRoute({ payload }: Message): Route | undefined {
  const family = ipFamily(payload.readUInt8(0));
  const flags = payload.readUInt32LE(8);
  if (!family) return undefined;
  const attributes = attributesOf(payload, RTMSG_SIZE);
  const dst = attributes.get(RTA_DST);
  const src = attributes.get(RTA_PREFSRC);
  const metrics = attributes.get(RTA_METRICS);
  return {
    dst: `${dst ? ipFromBytes(dst) : family === 4 ? '0.0.0.0' : '::'}/${payload.readUInt8(1)}` as Cidr,
    type: TYPE_NAMES.get(payload.readUInt8(7)),
    dev: attributes.get(RTA_OIF)?.readUInt32LE(),
    via: readGateway(attributes),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
    src: src && ipFromBytes(src),
    metric: attributes.get(RTA_PRIORITY)?.readUInt32LE() ?? 0,
    table: attributes.get(RTA_TABLE)?.readUInt32LE() ?? payload.readUInt8(4),
    protocol: payload.readUInt8(5),
    scope: payload.readUInt8(6),
    mtu: metrics && attributesOf(metrics).get(RTAX_MTU)?.readUInt32LE(),
    encapsulation: readEncapsulation(attributes),
    nexthops: readNexthops(attributes),
  };
}

/** Formats it like `ip route`: `10.0.0.0/24 via 10.0.0.1 dev 5 onlink`. */
export function routeText(route: Route): string {
  const { dst, type = 'unicast', via, dev, onlink, table, metric, encapsulation } = route;
  return [
    type === 'unicast' ? '' : `${type} `,
    lengthOf(dst) === 0 ? 'default' : dst,
    encapsulation ? ` ${encapsulationText(encapsulation)}` : '',
    via ? ` via ${via}` : '',
    dev === undefined ? '' : ` dev ${dev}`,
    onlink ? ' onlink' : '',
    table === undefined || table === RT_TABLE_MAIN ? '' : ` table ${table}`,
    metric ? ` metric ${metric}` : '',
  ].join('');
}

type Numbers = { readonly protocol: number; readonly scope: number; readonly type: number };

function newRoute(operation: string, route: Route, flags: number): Request {
  const payload = encode(route, {
    protocol: route.protocol ?? RTPROT_BOOT,
    scope: route.scope ?? defaultScope(route),
    type: TYPES[route.type ?? 'unicast'],
  });
  return { operation, object: routeText(route), type: RTM_NEWROUTE, flags, payload };
}

/** Follows ip(8): a route without a gateway has link scope, one with a gateway does not. */
function defaultScope({ dst, type = 'unicast', via, nexthops }: Route): number {
  if (familyOf(dst) === 6) return RT_SCOPE_UNIVERSE;
  if (type === 'local') return RT_SCOPE_HOST;
  if (type === 'broadcast' || type === 'multicast' || type === 'anycast') return RT_SCOPE_LINK;
  return type === 'unicast' && !via && !nexthops ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

function encode(route: Route, { protocol, scope, type }: Numbers): Buffer {
  const { dst, dev, via, onlink, src, metric, table = RT_TABLE_MAIN, mtu, encapsulation, nexthops } = route;
  const writer = new Writer().header(RTMSG_SIZE, (header) => {
    header[0] = addressFamily(familyOf(dst));
    header[1] = lengthOf(dst);
    header[4] = table < 256 ? table : 0;
    header[5] = protocol;
    header[6] = scope;
    header[7] = type;
    header.writeUInt32LE(onlink ? RTNH_F_ONLINK : 0, 8);
  });
  if (lengthOf(dst) > 0) writer.bytes(RTA_DST, ipToBytes(addressOf(dst)));
  writeGateway(writer, familyOf(dst), via);
  writer
    .u32(RTA_OIF, dev)
    .bytes(RTA_PREFSRC, src && ipToBytes(src))
    .u32(RTA_PRIORITY, metric)
    .u32(RTA_TABLE, table < 256 ? undefined : table);
  if (mtu !== undefined) writer.nested(RTA_METRICS, (metrics) => metrics.u32(RTAX_MTU, mtu));
  writeEncapsulation(writer, encapsulation);
  if (nexthops) writeNexthops(writer, familyOf(dst), nexthops);
  return writer.finish();
}
