import { FlatnetError } from '../../error.ts';
import { BITS, FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, type Cidr, hostCidr, lengthOf } from '../../ip/cidr.ts';
import { type Encapsulation, encapsulationText } from '../../linux/encapsulation.ts';
import type { Request } from '../../linux/netlink/message.ts';
import {
  type Route,
  type RouteType,
  RT_TABLE_MAIN,
  routeAdd,
  routeAppend,
  routeDelete,
  routeDump,
} from '../../linux/route.ts';
import { routeGet } from '../../linux/route-lookup.ts';
import { protocolName, RTPROT_BIRD } from '../../linux/route-protocol.ts';
import { type Change, equal, type Items, words } from '../kind.ts';
import { mayReplaceRoute, OUR_PROTOCOL, OUR_PROTOCOLS } from '../ownership.ts';
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
  /** We create `unicast` and `blackhole`. */
  readonly type: RouteType;
  readonly dev?: string;
  readonly via?: Ip;
  /** Treat the gateway as on-link even if no network there contains it. */
  readonly onlink?: boolean;
  readonly src?: Ip;
  /** Through an external tunnel device: the tunnel to take. */
  readonly encapsulation?: Encapsulation;
  /** Default: 0 for IPv4, 1024 for IPv6 (the kernel's own default). */
  readonly metric?: number;
  /** Default: 254, main. */
  readonly table?: number;
  /** The route's owner: `OUR_PROTOCOL` or another. */
  readonly protocol: number;
  /** As read, of another program's route: the metric of the desired route that it is preferred to. */
  readonly aheadOf?: number;
};

export const route: RtnetlinkKind<RouteItem> = {
  kind: 'route',
  executor: 'rtnetlink',
  key: (item) => `route ${tableOf(item)} ${item.dst} ${item.aheadOf ?? metricOf(item)}`,
  device: ({ dev }) => dev,
  stage: () => 'routes',
  blockedBy: ({ action, item, was }, devices) => {
    if (action === 'delete') return undefined;
    if (was && !mayReplaceRoute(was.protocol)) return taken(item, was);
    const { dev } = item;
    return dev === undefined || devices.get(dev)?.up ? undefined : `device ${dev} is down`;
  },
  isOurs: ({ protocol }) => OUR_PROTOCOLS.has(protocol),
  same: (a, b) => equal(complete(a), complete(b)),
  satisfies: (actual, wanted) =>
    actual.type === wanted.type &&
    actual.protocol === wanted.protocol &&
    tableOf(actual) === tableOf(wanted) &&
    metricOf(actual) === metricOf(wanted) &&
    // The kernel reports IPv6 blackholes on lo, and picks a device itself if none was given.
    (wanted.type !== 'unicast' || wanted.dev === undefined || actual.dev === wanted.dev) &&
    actual.via === wanted.via &&
    actual.src === wanted.src &&
    equal(actual.encapsulation, wanted.encapsulation) &&
    (actual.onlink ?? false) === (wanted.onlink ?? false),

  dumps: ({ desired, nameOf }) =>
    FAMILIES.map((family) =>
      itemsOf(routeDump({ family }), (value) => inSlot(itemOf(value, nameOf), desired)),
    ),
  single: ({ dst, table = RT_TABLE_MAIN }, _index, nameOf) => {
    // The kernel can look up the route to an address: for a host route, that is the route itself.
    if (lengthOf(dst) !== BITS[familyOf(dst)] || table !== RT_TABLE_MAIN) return undefined;
    const request = routeGet(addressOf(dst), { fibMatch: true });
    return { by: 'get', request: itemsOf(request, (value) => itemOf(value, nameOf)) };
  },
  requests: (change, index) => [
    change.action === 'delete' ? routeDelete(rtnetlink(change.item, index)) : write(change, index),
  ],
  // Appending what is there already, behind the route to replace; the route to replace has gone by itself.
  isBenign: (change, { errno }) =>
    (isAppended(change) && errno === 'EEXIST') || (change.action === 'change' && errno === 'ESRCH'),
  afterwards: (change, index) => {
    if (change.action !== 'change') return [];
    const removal = change.was ? [routeDelete(rtnetlink(change.was, index))] : [];
    if (isAppended(change)) return removal;
    return [...removal, routeAdd(rtnetlink(change.item, index)), routeDelete(substitute(change.item, index))];
  },
  fallback,
  explain,
  contradiction: (event, { desired, nameOf }) =>
    event.object === 'route'
      ? contradictedKey(route, inSlot(itemOf(event.value, nameOf), desired), event.type === 'del', desired)
      : undefined,

  command: (item, action) => `ip route ${action === 'add' ? 'replace' : 'del'} ${text(item)}`,
  forward: (item, { fib }) => {
    const { dst, type, dev, via, encapsulation } = item;
    const metric = metricOf(item);
    if (tableOf(item) !== RT_TABLE_MAIN) return;
    if (type !== 'unicast') fib.push({ dst, metric, to: 'nowhere' });
    else {
      fib.push({
        dst,
        metric,
        to: 'device',
        ...(dev !== undefined && { dev }),
        ...(via !== undefined && { via }),
        ...(encapsulation && { encapsulation }),
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

/**
 * Another program's IPv6 route of a lower metric fills our slot too: ours would have no effect. Not BIRD's:
 * while the backend changes, the old route stays until the new one is there.
 */
function inSlot(item: RouteItem, desired: Items): RouteItem {
  const metric = defaultMetric(item);
  const { protocol } = item;
  if (metricOf(item) >= metric || mayReplaceRoute(protocol) || protocol === RTPROT_BIRD) return item;
  const behind = { ...item, aheadOf: metric };
  return desired.has(route.key(behind)) ? behind : item;
}

function complete(item: RouteItem): RouteItem {
  return { ...item, table: tableOf(item), metric: metricOf(item), onlink: item.onlink ?? false };
}

/** A route with several next hops never equals one of ours. */
function itemOf(value: Route, nameOf: NameOf): RouteItem {
  const { dst, type, via, onlink, src, encapsulation, metric, table, protocol } = value;
  const dev = value.dev === undefined ? undefined : nameOf(value.dev);
  return {
    kind: 'route',
    dst,
    // A type that we do not know.
    type: type ?? 'prohibit',
    ...(dev !== undefined && { dev }),
    ...(via !== undefined && { via }),
    ...(onlink && { onlink }),
    ...(src !== undefined && { src }),
    ...(encapsulation && { encapsulation }),
    ...(metric !== undefined && { metric }),
    ...(table !== undefined && { table }),
    protocol: protocol ?? 0,
  };
}

function rtnetlink(item: RouteItem, index: Index): Route {
  const { dst, type, dev, via, onlink, src, encapsulation, protocol } = item;
  return {
    dst,
    type,
    dev: dev === undefined ? undefined : index(dev),
    via,
    onlink,
    src,
    encapsulation,
    protocol,
    table: tableOf(item),
    metric: metricOf(item),
  };
}

/**
 * How a route gets into its slot without displacing one that another program has put there since we last
 * looked: an addition fails where there is one, and a change appends ours and then deletes what it replaces,
 * by protocol. In IPv6, an appended route would become a next hop of the other, and NLM_F_REPLACE removes all
 * next hops, whosever they are: there, a substitute holds the place until the old route is deleted and the
 * new one added.
 */
function write(change: Change<RouteItem>, index: Index): Request {
  if (change.action === 'add') return routeAdd(rtnetlink(change.item, index));
  if (isAppended(change)) return routeAppend(rtnetlink(change.item, index));
  return routeAdd(substitute(change.item, index));
}

function isAppended({ action, item }: Change<RouteItem>): boolean {
  return action === 'change' && familyOf(item.dst) === 4;
}

/** The same route in the slot in front. One that a crash leaves behind is ours and not wanted. */
function substitute(item: RouteItem, index: Index): Route {
  return rtnetlink({ ...item, metric: inFrontOf(item) }, index);
}

function inFrontOf(item: RouteItem): number {
  const metric = metricOf(item);
  // Metric 0 would mean the default.
  return metric > 1 ? metric - 1 : metric + 1;
}

/**
 * The alternative to a refused addition or change. EEXIST: a crash has left the substitute of an earlier IPv6
 * change; it leads wherever that one did, so it goes first. EINVAL: the kernel resolves the IPv6 gateway to
 * another device, as it does while the route to replace still leads there, and onlink does not help
 * (ip6_route_check_nh_onlink). A temporary host route to the gateway does.
 */
function fallback(change: Change<RouteItem>, errno: string, index: Index): Request[] | undefined {
  const { via, onlink, dev, ...rest } = change.item;
  if (change.action === 'change' && errno === 'EEXIST') {
    const left = rtnetlink({ ...rest, metric: inFrontOf(change.item) }, index);
    return [routeDelete(left), write(change, index)];
  }
  if (change.action === 'delete' || errno !== 'EINVAL' || !onlink || via === undefined || familyOf(via) === 4)
    return undefined;
  const gateway = rtnetlink({ ...rest, ...(dev !== undefined && { dev }), dst: hostCidr(via) }, index);
  return [routeAdd(gateway), write(change, index), routeDelete(gateway)];
}

/** Explains EOPNOTSUPP, which is all that a kernel without lightweight tunnels says. */
function explain({ action, item }: Change<RouteItem>, error: FlatnetError): FlatnetError {
  if (action === 'delete' || !item.encapsulation || error.errno !== 'EOPNOTSUPP') return error;
  return new FlatnetError('this kernel does not support routes that encapsulate', {
    code: 'KERNEL_FEATURE',
    operation: error.operation ?? 'route add',
    object: item.dst,
    errno: error.errno,
    fix: 'use a kernel with CONFIG_LWTUNNEL, as distributions have, or another backend',
    cause: error,
  });
}

/** Why a route can't be added: another program's is in its place. */
function taken(item: RouteItem, was: RouteItem): string {
  return (
    `${text(item)}: another program's route is in its place, proto ${protocolName(was.protocol)}; ` +
    `unless it is wanted there, remove it: ${route.command(was, 'delete')}`
  );
}

/** Formats it like `ip route show`, but omits our usual protocol, which every line would repeat. */
function text(item: RouteItem): string {
  const isUnicast = item.type === 'unicast';
  return words(
    isUnicast ? item.dst : `${item.type} ${item.dst}`,
    item.encapsulation ? encapsulationText(item.encapsulation) : '',
    item.via === undefined ? '' : `via ${item.via}`,
    item.dev === undefined || !isUnicast ? '' : `dev ${item.dev}`,
    tableOf(item) === RT_TABLE_MAIN ? '' : `table ${tableOf(item)}`,
    item.protocol === OUR_PROTOCOL ? '' : `proto ${protocolName(item.protocol)}`,
    item.src === undefined ? '' : `src ${item.src}`,
    metricOf(item) === defaultMetric(item) ? '' : `metric ${metricOf(item)}`,
    item.onlink ? 'onlink' : '',
  );
}
