import type { Host } from '../../cluster/host.ts';
import { type PerFamily, perFamily, type Underlay } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { FAMILIES, type Family, familyOf, isIp } from '../../ip/address.ts';
import { addressOf, cidrOf, lengthOf, type Prefixed } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import { linkDump } from '../../linux/link/link.ts';
import type { NetlinkSocket } from '../../linux/netlink/socket.ts';
import { type Route, RT_TABLE_MAIN, routeDump } from '../../linux/route.ts';
import { readSysctl } from '../../linux/sysctl.ts';
import type { Problem } from '../../problem.ts';
import { OUR_PROTOCOLS } from '../../state/ownership.ts';
import { reachableBy } from './addresses.ts';
import { hostOf } from './host.ts';
import type { DeviceMtu } from './path-mtu.ts';

/** An interface of the node with the addresses at which peers could reach it, best first. */
export type Interface = {
  readonly name: string;
  readonly mtu: number;
  readonly addresses: readonly Prefixed[];
};

/** Inputs of the choice. */
export type Interfaces = {
  readonly all: readonly Interface[];
  /** The interface of the default route, per family. */
  readonly byDefault: PerFamily<string>;
};

/** Also holds the device MTUs that limit paths, by interface index, and all that the host uses. */
export type ReadInterfaces = Interfaces & {
  readonly mtus: ReadonlyMap<number, DeviceMtu>;
  readonly host: Host;
};

export type UnderlayRequest = {
  /** An interface by name, or by one of its addresses. */
  readonly iface?: string;
};

/**
 * The interface that carries packets between nodes: the requested one, else that of the default route (IPv4
 * first), else the only one with an address. Throws CONFIG_INVALID when nothing matches the request,
 * NOT_FOUND when there is no candidate or more than one.
 */
export function chooseUnderlay(interfaces: Interfaces, request: UnderlayRequest): Underlay {
  const usable = interfaces.all.filter(({ addresses }) => addresses.length > 0);
  const chosen =
    request.iface === undefined ? fallback(usable, interfaces.byDefault) : requested(usable, request.iface);
  const addresses = perFamily((family) => {
    const candidates = chosen.addresses.filter((net) => familyOf(net) === family).map(addressOf);
    return candidates.find((ip) => ip === request.iface) ?? candidates[0];
  });
  const others = chosen.addresses.map(addressOf).filter((ip) => !Object.values(addresses).includes(ip));
  return {
    dev: chosen.name,
    mtu: chosen.mtu,
    addresses,
    ...(others.length > 0 && { senders: others.sort() }),
    onLink: [...new Set(chosen.addresses.map((net) => cidrOf(addressOf(net), lengthOf(net))))].sort(),
  };
}

/**
 * Returns the new underlay, with the last address of any family that lost its own. Addresses disappear
 * briefly when a link goes down (IPv6) or a DHCP client restarts; taking the family down would cost more than
 * the gap itself.
 */
export function withoutGaps(now: Underlay, last: Underlay | undefined): Underlay {
  if (last?.dev !== now.dev) return now;
  const gone = FAMILIES.filter((family) => !now.addresses[family] && last.addresses[family]);
  if (gone.length === 0) return now;
  return {
    ...now,
    addresses: { ...last.addresses, ...now.addresses },
    onLink: [...now.onLink, ...last.onLink.filter((net) => gone.includes(familyOf(net)))].sort(),
  };
}

/**
 * What is wrong with an underlay whose last addresses are kept: `now` as read, `kept` as used. `isDisabled`:
 * whether the host has switched IPv6 off.
 */
export function lostAddresses(now: Underlay, kept: Underlay, isDisabled: boolean): Problem[] {
  return FAMILIES.flatMap((family) => {
    const ip = kept.addresses[family];
    if (ip === undefined || now.addresses[family] !== undefined) return [];
    const isOff = family === 6 && isDisabled;
    return {
      id: 'underlay-address-lost' as const,
      severity: 'error' as const,
      what: `${kept.dev} has lost its address ${ip}: peers cannot reach this node's pods over IPv${family}`,
      ...(isOff && { cause: 'net.ipv6.conf.all.disable_ipv6 is 1' }),
      fix: `${isOff ? 'sysctl -w net.ipv6.conf.all.disable_ipv6=0, then ' : ''}give ${kept.dev} its address again`,
    };
  });
}

function requested(usable: readonly Interface[], iface: string): Interface {
  const match = usable.find(
    ({ name, addresses }) =>
      name === iface || (isIp(iface) && addresses.some((net) => addressOf(net) === iface)),
  );
  if (match) return match;
  throw new FlatnetError(`no interface with an address has the name or address ${iface}`, {
    code: 'CONFIG_INVALID',
    object: 'iface',
    fix: `choose one of ${names(usable)}`,
  });
}

function fallback(usable: readonly Interface[], byDefault: PerFamily<string>): Interface {
  const name = byDefault[4] ?? byDefault[6];
  const match = usable.find((candidate) => candidate.name === name);
  if (match) return match;
  const [only, ...more] = usable;
  if (only && more.length === 0) return only;
  throw new FlatnetError(
    only ? 'no default route shows which interface leads to the peers' : 'no interface has an address',
    {
      code: 'NOT_FOUND',
      operation: 'choose the underlay',
      fix: only ? `set iface to one of ${names(usable)}` : 'give the node an address first',
    },
  );
}

function names(interfaces: readonly Interface[]): string {
  return interfaces.map(({ name }) => name).join(', ') || 'none';
}

/** Devices of the pod network, which cannot be its underlay. */
const OURS = /^(lo|cni\d+|flannel.*|fl(-v6)?\.\d+|cali.*|veth.*|tunl0)$/;

/** Whether a device belongs to the pod network. */
export function isPodDevice(name: string): boolean {
  return OURS.test(name);
}

/** Reads the node's interfaces, like `ip link`, `ip address` and `ip route show default` together. */
export async function readInterfaces(netlink: NetlinkSocket): Promise<ReadInterfaces> {
  const all = await netlink.dump(linkDump());
  const links = all.filter(({ name }) => !isPodDevice(name));
  const addresses = await netlink.dump(addressDump());
  const byDefault: { [F in Family]?: string } = {};
  const known: Route[] = [];
  for (const family of FAMILIES) {
    // Ours lead to pods, and there are thousands of them.
    const routes = await netlink.dump(routeDump({ family, table: RT_TABLE_MAIN, without: OUR_PROTOCOLS }));
    known.push(...routes);
    const [best] = routes
      .filter((route) => lengthOf(route.dst) === 0 && deviceOf(route) !== undefined)
      .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
    const name = links.find(({ index }) => best && index === deviceOf(best))?.name;
    if (name !== undefined) byDefault[family] = name;
  }
  return {
    byDefault,
    all: links.map(({ index, name, mtu }) => ({
      name,
      mtu,
      addresses: reachableBy(addresses.filter(({ dev }) => dev === index)),
    })),
    host: hostOf({ links: all, addresses, routes: known, isPodDevice }),
    mtus: new Map(links.map(({ index, name, mtu }) => [index, { mtu, mtu6: mtu6Of(name) ?? mtu }])),
  };
}

/** The first next hop's device for a multipath route. */
function deviceOf({ dev, nexthops }: Route): number | undefined {
  return dev ?? nexthops?.[0]?.dev;
}

/**
 * The interface's IPv6 MTU, possibly announced by a router (RFC 4861 §4.6.4). Undefined without IPv6, or when
 * the interface has just disappeared.
 */
function mtu6Of(name: string): number | undefined {
  try {
    return Number(readSysctl(`net/ipv6/conf/${name}/mtu`));
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}
