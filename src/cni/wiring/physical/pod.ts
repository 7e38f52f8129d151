import { isRouted } from '../../../cluster/physical.ts';
import { isPhysical } from '../../../cluster/wiring.ts';
import { FlatnetError } from '../../../error.ts';
import { FAMILIES, familyOf, type Ip, parseIp } from '../../../ip/address.ts';
import { addressOf, cidrOf, hostCidr, lastIp, lengthOf, type Prefixed, parseCidr } from '../../../ip/cidr.ts';
import { fnv64 } from '../../../ip/fnv.ts';
import type { Mac } from '../../../ip/mac.ts';
import { addressReplace } from '../../../linux/address.ts';
import { linkAdd, linkDelete, linkSet, linkUp } from '../../../linux/link/change.ts';
import type { LinkData } from '../../../linux/link/kinds.ts';
import { type Link, linkGet } from '../../../linux/link/link.ts';
import { moduleOf } from '../../../linux/link/module.ts';
import { neighbourReplace } from '../../../linux/neighbour.ts';
import type { Request } from '../../../linux/netlink/message.ts';
import { withNetns } from '../../../linux/netns.ts';
import { RT_TABLE_MAIN, routeAdd, routeDump } from '../../../linux/route.ts';
import { writeSysctl } from '../../../linux/sysctl.ts';
import { OUR_ALIAS } from '../../../state/ownership.ts';
import { ownerMark, podAlias } from '../../../wiring/pod-device.ts';
import { hasShim, nodeMac } from '../../../wiring/shim.ts';
import type { PodAddress } from '../../addresses/source.ts';
import type { PhysicalNetwork } from '../../context.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { RouteConfig } from '../../protocol/result.ts';
import type { AttachmentKey } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { findLink } from '../links.ts';
import { prepareIpv6 } from '../pod-end.ts';
import type { PodNetns } from '../pod-netns.ts';

const RT_SCOPE_LINK = 253;
const ANYWHERE = { 4: '0.0.0.0/0', 6: '::/0' } as const;

/** A pod's interface on a physical network. */
export type PhysicalPod = {
  readonly netns: PodNetns;
  readonly ifName: string;
  readonly physical: PhysicalNetwork;
};

/** What tells an attachment's interface from others. */
type Owner = Pick<AttachmentKey, 'containerId' | 'ifName'>;
type Owned = Parameters<typeof podAlias>[0];

/** Creates the interface, down, in the pod's namespace. `mac`: undefined where it has that of the parent. */
export function addInterface(
  { netns, ifName, physical }: PhysicalPod,
  { mac, mtu, pod }: { readonly mac: Mac | undefined; readonly mtu: number; readonly pod: Owned },
  state: CniState,
): void {
  const { config } = physical;
  const { dev } = physical.parent();
  const parent = findLink(state.link, dev);
  if (!parent) throw new CniError(CODE.TRY_AGAIN, `the node’s interface ${dev} is missing`);
  if (findLink(netns.link, ifName))
    throw new CniError(CODE.INTERNAL, `the container already has an interface ${ifName}`);
  const name = temporaryName(pod);
  removeTemporary(netns, pod);
  const data = { kind: config.wiring, mode: config.mode, parent: parent.index } as LinkData;
  try {
    state.link.executeSync(linkAdd({ name, mac, mtu, netns: netns.fd, data }));
  } catch (error) {
    throw explained(error, dev, config);
  }
  const { index } = netns.link.getSync(linkGet(name));
  // It never has its name without the alias that says whose it is.
  netns.link.executeSync([...linkSet(index, { alias: podAlias(pod) }), ...linkSet(index, { name: ifName })]);
}

/**
 * Whether a link is the interface that an ADD made for an attachment. Its namespace does not prove that: the
 * kernel gives an inode that is free to the next one.
 */
export function isInterfaceOf({ kind, alias }: Link, key: Owner): boolean {
  const isOurs = alias?.startsWith(`${OUR_ALIAS} `) && alias.endsWith(ownerMark(key));
  return kind !== undefined && isPhysical(kind) && isOurs === true;
}

/**
 * A name that no device of the node has: Linux 6.1 refuses one that is taken where the request comes from,
 * whatever the namespace it is for (__rtnl_newlink). The same at every try, and no other attachment's.
 */
function temporaryName({ containerId, ifName }: Owner): string {
  return `fl-${fnv64(`${containerId} ${ifName}`, 1).high.toString(16)}`;
}

/** Removes what a crash left between the interface's creation and its renaming. */
export function removeTemporary(netns: PodNetns, key: Owner): void {
  const left = findLink(netns.link, temporaryName(key));
  if (left?.kind && isPhysical(left.kind)) deleteInterface(netns, left.index);
}

function explained(error: unknown, dev: string, { wiring, mode }: PhysicalNetwork['config']): unknown {
  switch (error instanceof FlatnetError ? error.errno : undefined) {
    case 'EOPNOTSUPP':
      return new CniError(
        CODE.INTERNAL,
        `this kernel does not support ${wiring} devices`,
        `load the module ${moduleOf(wiring)}`,
        error,
      );
    case 'EBUSY':
    case 'EINVAL':
      return new CniError(
        CODE.TRY_AGAIN,
        `${dev} cannot be shared now`,
        mode === 'passthru'
          ? 'in mode passthru it is one pod’s'
          : 'a bridge, a bond or another kind of device uses it',
        error,
      );
    default:
      return error;
  }
}

/**
 * The pod's routes for the result: to the node itself, whatever its address, and a default route per family,
 * unless another of its interfaces has one.
 */
export function routesOf({ netns, physical }: PhysicalPod, ips: readonly PodAddress[]): RouteConfig[] {
  const { config, node } = physical;
  return FAMILIES.flatMap((family) => {
    const own = ips.find(({ address }) => familyOf(address) === family);
    if (!own) return [];
    const present = netns.link.dumpSync(routeDump({ family, table: RT_TABLE_MAIN }));
    const hasDefault = present.some(({ dst }) => dst === ANYWHERE[family]);
    const routed = isRouted(config.mode);
    const beyond: RouteConfig[] =
      hasDefault || !(routed || own.gateway)
        ? []
        : [{ dst: ANYWHERE[family], ...(own.gateway && { gw: own.gateway }) }];
    const toNode = hasShim(config) && !routed ? node[family] : undefined;
    return [...(toNode === undefined ? [] : [{ dst: hostCidr(toNode), scope: RT_SCOPE_LINK }]), ...beyond];
  });
}

/** Brings the interface up without addresses, to ask for some. */
export function bringUp(netns: PodNetns, ifName: string): void {
  withNetns(netns.fd, () => settle(ifName, false));
  netns.link.executeSync(linkUp(ifName));
}

/**
 * Brings the interface up with its addresses, and announces them: an earlier holder's MAC may be remembered
 * (RFC 5227 §3, RFC 4861 §7.2.6). The kernel does that when the interface comes up.
 */
export function configureInterface(
  { netns, ifName, physical }: PhysicalPod,
  ips: readonly PodAddress[],
  routes: readonly RouteConfig[],
): void {
  const hasIpv6 = ips.some(({ address }) => familyOf(address) === 6);
  if (hasIpv6) prepareIpv6(netns, ifName);
  withNetns(netns.fd, () => {
    writeSysctl(`net/ipv4/conf/${ifName}/arp_notify`, 1);
    if (hasIpv6) writeSysctl(`net/ipv6/conf/${ifName}/ndisc_notify`, 1);
    settle(ifName, hasIpv6);
  });
  const { link } = netns;
  const { index } = link.getSync(linkGet(ifName));
  const neighbours = nodeNeighbours(physical);
  const all: readonly Request[] = [
    ...linkSet(index, { up: false }),
    ...ips.map(({ address }) => assign(index, address)),
    ...linkSet(index, { up: true }),
    ...neighbours.map((neighbour) => neighbourReplace({ ...neighbour, dev: index })),
    ...routes.map(({ dst, gw, priority, table, scope, mtu }) =>
      routeAdd({
        dst: parseCidr(dst),
        dev: index,
        via: gw ? parseIp(gw) : undefined,
        metric: priority,
        table,
        scope,
        mtu,
      }),
    ),
  ];
  const error = link.executeAllSync(all).find((answer) => answer && answer.errno !== 'EEXIST');
  if (error) throw error;
}

/** Where a pod finds the node: nobody answers for these addresses on the parent's own children. */
export function nodeNeighbours({
  config,
  node,
  parent,
}: PhysicalNetwork): { readonly ip: Ip; readonly mac: Mac }[] {
  if (!hasShim(config) || isRouted(config.mode)) return [];
  const mac = nodeMac(config, parent());
  return Object.values(node).map((ip) => ({ ip, mac }));
}

/** With detection of duplicates, which is off (accept_dad): otherwise IPv6 addresses are not announced. */
function assign(dev: number, address: Prefixed): Request {
  if (familyOf(address) === 6) return addressReplace({ dev, address });
  const length = lengthOf(address);
  const broadcast = length < 31 ? lastIp(cidrOf(addressOf(address), length)) : undefined;
  return addressReplace({ dev, address, broadcast });
}

/**
 * Anybody on the network might give it further addresses and routes. Without an IPv6 address, it has no IPv6.
 */
function settle(ifName: string, hasIpv6: boolean): void {
  writeIfThere(`net/ipv6/conf/${ifName}/accept_ra`, 0);
  if (!hasIpv6) writeIfThere(`net/ipv6/conf/${ifName}/disable_ipv6`, 1);
}

function writeIfThere(path: string, value: number): void {
  try {
    writeSysctl(path, value);
  } catch (error) {
    // A kernel without IPv6 lacks its settings.
    if (!(error instanceof FlatnetError && error.code === 'NOT_FOUND')) throw error;
  }
}

/** Deletes an interface in a pod's namespace. */
export function deleteInterface(netns: PodNetns, index: number): void {
  const [error] = netns.link.executeAllSync([linkDelete(index)]);
  if (error && error.errno !== 'ENODEV') throw error;
}
