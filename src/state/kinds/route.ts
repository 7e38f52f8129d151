import { BITS, FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, type Cidr, hostCidr, lengthOf } from '../../ip/cidr.ts';
import {
  type Route,
  RT_TABLE_MAIN,
  routeDelete,
  routeDump,
  routeGet,
  routeReplace,
} from '../../linux/route.ts';
import { equal, words } from '../kind.ts';
import { OUR_PROTOCOL, OUR_PROTOCOLS } from '../ownership.ts';
import {
  contradictedKey,
  type Index,
  itemsOf,
  type NameOf,
  type RtnetlinkKind,
} from '../protocols/rtnetlink.ts';

export type RouteItem = {
  readonly kind: 'route';
  readonly dst: Cidr;
  readonly type: 'unicast' | 'blackhole';
  readonly dev?: string;
  readonly via?: Ip;
  /** Treat the gateway as on-link even if no network there contains it. */
  readonly onlink?: boolean;
  readonly src?: Ip;
  /** Default: 0 for IPv4, 1024 for IPv6 (the kernel's own default). */
  readonly metric?: number;
  /** Default: 254, main. */
  readonly table?: number;
  /** The route's owner: `OUR_PROTOCOL` or another. */
  readonly protocol: number;
};

export const route: RtnetlinkKind<RouteItem> = {
  kind: 'route',
  executor: 'rtnetlink',
  key: (item) => `route ${tableOf(item)} ${item.dst} ${metricOf(item)}`,
  device: ({ dev }) => dev,
  stage: () => 'routes',
  blockedBy: ({ action, item: { dev } }, devices) =>
    action === 'delete' || dev === undefined || devices.get(dev)?.up ? undefined : `device ${dev} is down`,
  isOurs: ({ protocol }) => OUR_PROTOCOLS.has(protocol),
  same: (a, b) => equal(complete(a), complete(b)),
  satisfies: (actual, wanted) =>
    actual.type === wanted.type &&
    actual.protocol === wanted.protocol &&
    tableOf(actual) === tableOf(wanted) &&
    metricOf(actual) === metricOf(wanted) &&
    // The kernel reports IPv6 blackholes on lo, and picks a device itself if none was given.
    (wanted.type === 'blackhole' || wanted.dev === undefined || actual.dev === wanted.dev) &&
    actual.via === wanted.via &&
    actual.src === wanted.src &&
    (actual.onlink ?? false) === (wanted.onlink ?? false),

  dumps: ({ nameOf }) =>
    FAMILIES.map((family) => itemsOf(routeDump({ family }), (value) => itemOf(value, nameOf))),
  single: ({ dst, table = RT_TABLE_MAIN }, _index, nameOf) => {
    // The kernel can look up the route to an address: for a host route, that is the route itself.
    if (lengthOf(dst) !== BITS[familyOf(dst)] || table !== RT_TABLE_MAIN) return undefined;
    const request = routeGet(addressOf(dst), { fibMatch: true });
    return { by: 'get', request: itemsOf(request, (value) => itemOf(value, nameOf)) };
  },
  requests: ({ action, item }, index) => [
    action === 'delete' ? routeDelete(rtnetlink(item, index)) : routeReplace(rtnetlink(item, index)),
  ],
  fallback: ({ action, item }, errno, index) =>
    action === 'delete' ? undefined : fallback(item, errno, index),
  contradiction: (event, { desired, nameOf }) =>
    event.object === 'route'
      ? contradictedKey(route, itemOf(event.value, nameOf), event.type === 'del', desired)
      : undefined,

  command: (item, action) => `ip route ${action === 'add' ? 'replace' : 'del'} ${text(item)}`,
  forward: (item, { fib }) => {
    const { dst, type, dev, via } = item;
    const metric = metricOf(item);
    if (tableOf(item) !== RT_TABLE_MAIN) return;
    if (type === 'blackhole') fib.push({ dst, metric, to: 'nowhere' });
    else {
      fib.push({
        dst,
        metric,
        to: 'device',
        ...(dev !== undefined && { dev }),
        ...(via !== undefined && { via }),
      });
    }
  },
};

function tableOf({ table = RT_TABLE_MAIN }: RouteItem): number {
  return table;
}

/** The lowest metric is preferred. */
export function metricOf(item: RouteItem): number {
  return item.metric ?? defaultMetric(item);
}

/** The kernel defaults IPv6 routes to IP6_RT_PRIO_USER. */
function defaultMetric({ dst }: RouteItem): number {
  return familyOf(dst) === 4 ? 0 : 1024;
}

function complete(item: RouteItem): RouteItem {
  return { ...item, table: tableOf(item), metric: metricOf(item), onlink: item.onlink ?? false };
}

/** A route with several next hops, or of a type we never create, never equals one of ours. */
function itemOf(value: Route, nameOf: NameOf): RouteItem {
  const { dst, type, via, onlink, src, metric, table, protocol } = value;
  const dev = value.dev === undefined ? undefined : nameOf(value.dev);
  return {
    kind: 'route',
    dst,
    type: type === 'unicast' ? 'unicast' : 'blackhole',
    ...(dev !== undefined && { dev }),
    ...(via !== undefined && { via }),
    ...(onlink && { onlink }),
    ...(src !== undefined && { src }),
    ...(metric !== undefined && { metric }),
    ...(table !== undefined && { table }),
    protocol: protocol ?? 0,
  };
}

function rtnetlink(item: RouteItem, index: Index): Route {
  const { dst, type, dev, via, onlink, src, protocol } = item;
  return {
    dst,
    type,
    dev: dev === undefined ? undefined : index(dev),
    via,
    onlink,
    src,
    protocol,
    table: tableOf(item),
    metric: metricOf(item),
  };
}

/**
 * Alternatives to a refused `route replace`:
 * - EINVAL: the kernel resolves the IPv6 gateway to another device, as it does while the route to replace
 *   still leads there, and onlink does not help (ip6_route_check_nh_onlink). A temporary host route to the
 *   gateway does.
 * - EEXIST: the same route exists, but behind another one that was prepended to it (fib_table_insert).
 */
function fallback(item: RouteItem, errno: string, index: Index) {
  const wanted = rtnetlink(item, index);
  if (errno === 'EEXIST') return [routeDelete(wanted), routeReplace(wanted)];
  const { via, onlink, ...rest } = item;
  if (errno !== 'EINVAL' || !onlink || via === undefined || familyOf(via) === 4) return undefined;
  const gateway = rtnetlink({ ...rest, dst: hostCidr(via) }, index);
  return [routeReplace(gateway), routeReplace(wanted), routeDelete(gateway)];
}

/** Formats it like `ip route show`, but omits our usual protocol, which every line would repeat. */
function text(item: RouteItem): string {
  const blackhole = item.type === 'blackhole';
  return words(
    blackhole ? `blackhole ${item.dst}` : item.dst,
    item.via === undefined ? '' : `via ${item.via}`,
    item.dev === undefined || blackhole ? '' : `dev ${item.dev}`,
    tableOf(item) === RT_TABLE_MAIN ? '' : `table ${tableOf(item)}`,
    item.protocol === OUR_PROTOCOL ? '' : `proto ${item.protocol}`,
    item.src === undefined ? '' : `src ${item.src}`,
    metricOf(item) === defaultMetric(item) ? '' : `metric ${metricOf(item)}`,
    item.onlink ? 'onlink' : '',
  );
}
