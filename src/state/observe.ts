import { type Ip, parseIp } from '../ip/address.ts';
import type { Address } from '../linux/address.ts';
import { type Fdb, NTF_SELF } from '../linux/fdb.ts';
import type { Ipip } from '../linux/link/ipip.ts';
import type { Link } from '../linux/link/link.ts';
import type { Vxlan } from '../linux/link/vxlan.ts';
import { type Neighbour, NUD_PERMANENT } from '../linux/neighbour.ts';
import { NETCONFA_IFINDEX_ALL, type Netconf } from '../linux/netconf.ts';
import type { Route } from '../linux/route.ts';
import type { Rule } from '../linux/rule.ts';
import type {
  AddressItem,
  FdbItem,
  LinkItem,
  NeighbourItem,
  RouteItem,
  RuleItem,
  SysctlItem,
} from './item.ts';

/** Interface names by index, for turning what the kernel says into items. */
export type Names = (index: number) => string | undefined;

const NO_IP: Ip = parseIp('0.0.0.0');

/** What a link is to us: of a kind we do not make it is `existing`. */
export function linkItem(link: Link, names: Names): LinkItem {
  const master = link.master === undefined ? undefined : names(link.master);
  const hairpin = link.port?.hairpin;
  return {
    kind: 'link',
    name: link.name,
    link: kindOf(link, names),
    up: link.up,
    mtu: link.mtu,
    ...(link.mac !== undefined && { mac: link.mac }),
    ...(link.alias !== undefined && { alias: link.alias }),
    ...(master !== undefined && { master }),
    ...(hairpin !== undefined && { hairpin }),
    entries: 'kernel',
  };
}

function kindOf({ data }: Link, names: Names): LinkItem['link'] {
  switch (data?.kind) {
    case 'bridge':
      return { type: 'bridge' };
    case 'vxlan':
      return vxlanLink(data, names);
    case 'ipip':
      return ipipLink(data);
    case 'veth':
    case 'dummy':
    case 'ifb':
    case undefined:
      return { type: 'existing' };
  }
}

function ipipLink({ local, remote }: Ipip): LinkItem['link'] {
  return { type: 'ipip', ...(local !== undefined && { local }), ...(remote !== undefined && { remote }) };
}

function vxlanLink(vxlan: Vxlan, names: Names): LinkItem['link'] {
  const { id, port, local, dev, learning, gbp, udpChecksum, proxy, l2miss, l3miss } = vxlan;
  return {
    type: 'vxlan',
    vni: id ?? 0,
    port: port ?? 0,
    local: local ?? NO_IP,
    dev: (dev === undefined ? undefined : names(dev)) ?? '',
    learning: learning ?? false,
    gbp: gbp ?? false,
    udpChecksum: udpChecksum ?? false,
    onDemand: (proxy || l2miss || l3miss) ?? false,
  };
}

/** Undefined where the device is not known, as in the functions below. */
export function addressItem({ dev, address }: Address, names: Names): AddressItem | undefined {
  const name = names(dev);
  return name === undefined ? undefined : { kind: 'address', dev: name, address };
}

/** A route of several ways, or of a type we never make, comes out as one that equals none of ours. */
export function routeItem(route: Route, names: Names): RouteItem {
  const { dst, type, via, onlink, src, metric, table, protocol } = route;
  const dev = route.dev === undefined ? undefined : names(route.dev);
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

/** Only permanent entries: the others are the kernel's own, and come and go. */
export function neighbourItem(neighbour: Neighbour, names: Names): NeighbourItem | undefined {
  const { dev, ip, mac, state = 0 } = neighbour;
  const name = names(dev);
  if (name === undefined || mac === undefined || (state & NUD_PERMANENT) === 0) return undefined;
  return { kind: 'neighbour', dev: name, ip, mac };
}

/** Only permanent entries of the tunnel device itself: others it has learnt. */
export function fdbItem({ dev, mac, dst, state = 0, flags = 0 }: Fdb, names: Names): FdbItem | undefined {
  const name = names(dev);
  if (name === undefined || dst === undefined) return undefined;
  if ((state & NUD_PERMANENT) === 0 || (flags & NTF_SELF) === 0) return undefined;
  return { kind: 'fdb', dev: name, mac, dst };
}

/** Undefined for rules of a kind we never make. */
export function ruleItem(rule: Rule): RuleItem | undefined {
  const { family, priority, action, table, from, to, iif, oif, mark, mask, protocol } = rule;
  if (action !== 'lookup' || table === undefined || oif !== undefined || rule.invert) return undefined;
  const all = mask === 0xffffffff;
  return {
    kind: 'rule',
    family,
    priority,
    table,
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(iif !== undefined && { iif }),
    ...(mark !== undefined && { mark }),
    ...(mask !== undefined && !all && { mask }),
    protocol: protocol ?? 0,
  };
}

/** The settings a message tells of, by the paths we know them by. */
export function sysctlItems(
  { family, dev, forwarding, rpFilter, proxyNeighbour }: Netconf,
  names: Names,
): SysctlItem[] {
  const name = dev === NETCONFA_IFINDEX_ALL ? 'all' : names(dev);
  if (name === undefined) return [];
  const item = (path: string, value: number | undefined): SysctlItem[] =>
    value === undefined ? [] : [{ kind: 'sysctl', path, value: `${value}` }];
  const conf = `net/ipv${family}/conf/${name}`;
  const router = family === 4 && name === 'all' ? 'net/ipv4/ip_forward' : `${conf}/forwarding`;
  return [
    ...item(router, forwarding),
    ...item(`${conf}/rp_filter`, rpFilter),
    ...item(`${conf}/${family === 4 ? 'proxy_arp' : 'proxy_ndp'}`, proxyNeighbour),
  ];
}
