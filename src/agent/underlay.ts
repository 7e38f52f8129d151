import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type PerFamily, perFamily, type Underlay } from '../cluster/node.ts';
import { FlatnetError, messageOf } from '../error.ts';
import { FAMILIES, type Family, familyOf, isIp } from '../ip/address.ts';
import { addressOf, cidrOf, lengthOf, type Prefixed } from '../ip/cidr.ts';
import { addressDump } from '../linux/address.ts';
import { linkDump } from '../linux/link.ts';
import { Monitor, type MonitorEvent } from '../linux/monitor.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { type Route, RT_TABLE_MAIN, routeDump } from '../linux/route.ts';
import type { Log } from '../log.ts';
import { reachableBy } from './underlay-addresses.ts';

/** One interface of the node, with the addresses peers could reach it by, the best first. */
export type Interface = {
  readonly name: string;
  readonly mtu: number;
  readonly addresses: readonly Prefixed[];
};

/** What the choice depends on. */
export type Interfaces = {
  readonly all: readonly Interface[];
  /** The interface of the default route, per family. */
  readonly byDefault: PerFamily<string>;
};

export type UnderlayWish = {
  /** An interface by name, or by one of its addresses. */
  readonly iface?: string;
};

/**
 * The interface that carries packets between nodes: the one wished for, else that of the default route (IPv4's first), else the
 * only one with an address. Throws CONFIG_INVALID where the wish matches nothing, NOT_FOUND where there is none to choose, or more than one.
 */
export function chooseUnderlay(interfaces: Interfaces, wish: UnderlayWish): Underlay {
  const usable = interfaces.all.filter(({ addresses }) => addresses.length > 0);
  const chosen =
    wish.iface === undefined ? fallback(usable, interfaces.byDefault) : wished(usable, wish.iface);
  return {
    dev: chosen.name,
    mtu: chosen.mtu,
    addresses: perFamily((family) => {
      const candidates = chosen.addresses.filter((net) => familyOf(net) === family).map(addressOf);
      return candidates.find((ip) => ip === wish.iface) ?? candidates[0];
    }),
    onLink: [...new Set(chosen.addresses.map((net) => cidrOf(addressOf(net), lengthOf(net))))].sort(),
  };
}

/**
 * What is found now, and in a family whose address is gone the last one: addresses go for a moment when a link goes down (IPv6), when a
 * DHCP client starts anew. Taking the family down for it would cost more than the moment itself.
 */
export function withoutGaps(found: Underlay, last: Underlay | undefined): Underlay {
  if (last?.dev !== found.dev) return found;
  const gone = FAMILIES.filter((family) => !found.addresses[family] && last.addresses[family]);
  if (gone.length === 0) return found;
  return {
    ...found,
    addresses: { ...last.addresses, ...found.addresses },
    onLink: [...found.onLink, ...last.onLink.filter((net) => gone.includes(familyOf(net)))].sort(),
  };
}

function wished(usable: readonly Interface[], iface: string): Interface {
  const match = usable.find(
    ({ name, addresses }) =>
      name === iface || (isIp(iface) && addresses.some((net) => addressOf(net) === iface)),
  );
  if (match) return match;
  throw new FlatnetError(`no interface with an address is called or has ${iface}`, {
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
    only ? 'no default route says which interface leads to the peers' : 'no interface has an address',
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

/**
 * Finds the underlay, and again whenever a link, an address or a route of the node changes; tells `found` when it is another one.
 * An interface that is gone for the moment changes nothing: what it carried is put back when it returns.
 */
export async function watchUnderlay(
  wish: UnderlayWish,
  log: Log,
  signal: AbortSignal,
  found: (underlay: Underlay) => void,
): Promise<void> {
  const monitor = Monitor.open({ signal, objects: ['link', 'address', 'route'] });
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  let last: Underlay | undefined;
  let complaint = '';
  const look = async (): Promise<void> => {
    const interfaces = await readInterfaces(netlink);
    try {
      const underlay = withoutGaps(chooseUnderlay(interfaces, wish), last);
      complaint = '';
      if (isDeepStrictEqual(underlay, last)) return;
      last = underlay;
      log.info({ underlay }, 'underlay');
      found(underlay);
    } catch (error) {
      if (messageOf(error) !== complaint) log.warn({ reason: messageOf(error) }, 'no underlay');
      complaint = messageOf(error);
    }
  };
  await look();
  // One look answers for all events that came while the last one was under way.
  let looking: Promise<void> | undefined;
  let again = false;
  const onEvent = (): void => {
    again = true;
    looking ??= (async () => {
      while (again && !signal.aborted) {
        await sleep(GATHER);
        again = false;
        await look();
      }
      looking = undefined;
    })();
  };
  await monitor.run((event) => {
    if (matters(event)) onEvent();
  });
  await looking;
}

/** The pod network's own changes, thousands in a large cluster, are no reason to look. */
function matters(event: MonitorEvent): boolean {
  if (event.type === 'overflow') return true;
  if (event.type === 'miss') return false;
  if (event.object === 'link') return !OURS.test(event.value.name);
  if (event.object === 'route') return lengthOf(event.value.dst) === 0;
  return event.object === 'address';
}

/** Milliseconds in which events are gathered: an address that is replaced is gone for a moment. */
const GATHER = 20;

/** The devices of the pod network itself can't carry it. */
const OURS = /^(lo|cni\d+|flannel.*|fl(-v6)?\.\d+|cali.*|veth.*|tunl0)$/;

/** Reads the node's interfaces, like `ip link`, `ip address` and `ip route show default` together. */
export async function readInterfaces(netlink: NetlinkSocket): Promise<Interfaces> {
  const links = await netlink.dump(linkDump());
  const addresses = await netlink.dump(addressDump());
  const byDefault: { [F in Family]?: string } = {};
  for (const family of FAMILIES) {
    const routes = await netlink.dump(routeDump({ family, table: RT_TABLE_MAIN }));
    const [best] = routes
      .filter((route) => lengthOf(route.dst) === 0 && deviceOf(route) !== undefined)
      .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
    const name = links.find(({ index }) => best && index === deviceOf(best))?.name;
    if (name !== undefined) byDefault[family] = name;
  }
  return {
    byDefault,
    all: links
      .filter(({ name }) => !OURS.test(name))
      .map(({ index, name, mtu }) => ({
        name,
        mtu,
        addresses: reachableBy(addresses.filter(({ dev }) => dev === index)),
      })),
  };
}

/** Of several ways the first. */
function deviceOf({ dev, nexthops }: Route): number | undefined {
  return dev ?? nexthops?.[0]?.dev;
}
