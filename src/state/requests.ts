import { familyOf } from '../ip/address.ts';
import { hostCidr } from '../ip/cidr.ts';
import { addressDelete, addressReplace, IFA_F_NODAD } from '../linux/address.ts';
import { fdbDelete, fdbReplace } from '../linux/fdb.ts';
import type { LinkData } from '../linux/link/kinds.ts';
import { type LinkChanges, linkAdd, linkDelete, linkSet } from '../linux/link/link.ts';
import { neighbourDelete, neighbourReplace } from '../linux/neighbour.ts';
import type { Request } from '../linux/netlink/message.ts';
import { type Route, routeDelete, routeReplace } from '../linux/route.ts';
import { ruleAdd, ruleDelete } from '../linux/rule.ts';
import { type Change, isFallback } from './diff.ts';
import type { AddressItem, Item, LinkItem, MadeLink, RouteItem, VxlanLink } from './item.ts';
import { metricOf, tableOf } from './key.ts';

/** The index of a device that exists. Throws for others: `blockedBy` sorts those out before. */
export type Index = (name: string) => number;

/** What rtnetlink is asked to do for a change; nothing for what it does not deal with (sysctl, nft). */
export function requestsOf({ action, item, was }: Change, index: Index): Request[] {
  const gone = action === 'delete';
  switch (item.kind) {
    case 'link':
      return linkRequests(action, item, was, index);
    case 'address':
      return [gone ? addressDelete(address(item, index)) : addressReplace(address(item, index))];
    case 'route':
      return [gone ? routeDelete(route(item, index)) : routeReplace(route(item, index))];
    case 'neighbour': {
      const neighbour = { dev: index(item.dev), ip: item.ip, mac: item.mac };
      return [gone ? neighbourDelete(neighbour) : neighbourReplace(neighbour)];
    }
    case 'fdb': {
      const fdb = { dev: index(item.dev), mac: item.mac, dst: item.dst };
      return [gone ? fdbDelete(fdb) : fdbReplace(fdb)];
    }
    case 'rule':
      if (gone) return [ruleDelete(item)];
      // The kernel has no replace for rules.
      return was?.kind === 'rule' ? [ruleAdd(item), ruleDelete(was)] : [ruleAdd(item)];
    case 'sysctl':
    case 'nft':
      return [];
  }
}

/**
 * Another way to put a route in place, for when `route replace` was refused:
 * - EINVAL: the kernel finds the IPv6 gateway on another device, as it does while the route to replace still leads there, and
 *   onlink does not help (ip6_route_check_nh_onlink). A host route to the gateway does, for that moment.
 * - EEXIST: the same route is there, but behind another one that somebody put before it (fib_table_insert).
 *
 * Undefined where neither can help.
 */
export function detour({ item }: Change, errno: string | undefined, index: Index): Request[] | undefined {
  if (item.kind !== 'route') return undefined;
  const wanted = route(item, index);
  if (errno === 'EEXIST') return [routeDelete(wanted), routeReplace(wanted)];
  const { via, onlink, ...rest } = item;
  if (errno !== 'EINVAL' || !onlink || via === undefined || familyOf(via) === 4) return undefined;
  const gateway = route({ ...rest, dst: hostCidr(via) }, index);
  return [routeReplace(gateway), routeReplace(wanted), routeDelete(gateway)];
}

function linkRequests(
  action: Change['action'],
  item: LinkItem,
  was: Item | undefined,
  index: Index,
): Request[] {
  if (action === 'delete') return deletion(item, index(item.name));
  if (item.link.type === 'existing' || action === 'change') {
    const before = was?.kind === 'link' ? was : undefined;
    const { data, ...changes } = linkChanges(item, before, index);
    const number = index(item.name);
    // vxlan_nl2conf refuses an MTU in the message that changes the tunnel ("Cannot change mtu").
    return [...(data ? linkSet(number, { data }) : []), ...linkSet(number, changes)];
  }
  const data = dataOf(item.link, index);
  const { name, mtu, mac, alias } = item;
  const master = item.master === undefined ? undefined : index(item.master);
  const port = item.hairpin === undefined ? undefined : { hairpin: item.hairpin };
  // It goes up in a later phase, when its sysctls are set.
  const add = linkAdd({ name, data, mtu, mac, alias, master, port });
  return action === 'recreate' ? [linkDelete(index(name)), ...add] : add;
}

/** What the kernel's module made can't be deleted: it is no longer ours, and down. */
function deletion({ link }: LinkItem, index: number): Request[] {
  return [linkDelete(index), ...(isFallback(link) ? linkSet(index, { up: false, alias: '' }) : [])];
}

/** Only what differs: each attribute, even with its present value, may be refused on a live device. */
function linkChanges(item: LinkItem, was: LinkItem | undefined, index: Index): LinkChanges {
  const { mtu, mac, alias, master, hairpin, link, up } = item;
  const changed = <T>(wanted: T | undefined, present: T | undefined): T | undefined =>
    wanted === present ? undefined : wanted;
  const newMaster = changed(master, was?.master);
  const newHairpin = newMaster === undefined ? changed(hairpin, was?.hairpin) : hairpin;
  return {
    up: changed(up, was?.up),
    mtu: changed(mtu, was?.mtu),
    mac: changed(mac, was?.mac),
    alias: changed(alias, was?.alias),
    master: newMaster === undefined ? undefined : index(newMaster),
    port: newHairpin === undefined ? undefined : { hairpin: newHairpin },
    data:
      link.type === 'vxlan' && was?.link.type === 'vxlan' ? vxlanChanges(link, was.link, index) : undefined,
  };
}

function vxlanChanges(link: VxlanLink, was: VxlanLink, index: Index): LinkData | undefined {
  const { local, dev, learning } = link;
  if (local === was.local && dev === was.dev && learning === was.learning) return undefined;
  // vxlan_nl2conf wants the VNI named, and takes learning as off when it is not.
  return { kind: 'vxlan', id: link.vni, local, dev: index(dev), learning };
}

function dataOf(link: MadeLink, index: Index): LinkData {
  if (link.type === 'bridge') return { kind: 'bridge' };
  if (link.type === 'ipip') return { kind: 'ipip', local: link.local, remote: link.remote };
  const { vni, port, local, dev, learning, gbp, udpChecksum, onDemand } = link;
  const misses = onDemand ? { proxy: true, l2miss: true, l3miss: true } : {};
  return { kind: 'vxlan', id: vni, port, local, dev: index(dev), learning, gbp, udpChecksum, ...misses };
}

/** Without duplicate address detection: a pod behind it must not wait a second, and nobody else has the address. */
function address({ dev, address }: AddressItem, index: Index) {
  return { dev: index(dev), address, flags: familyOf(address) === 6 ? IFA_F_NODAD : 0 };
}

function route(item: RouteItem, index: Index): Route {
  const { dst, type, dev, via, onlink, src, protocol } = item;
  const table = tableOf(item);
  const metric = metricOf(item);
  return {
    dst,
    type,
    dev: dev === undefined ? undefined : index(dev),
    via,
    onlink,
    src,
    protocol,
    table,
    metric,
  };
}
