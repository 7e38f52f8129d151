import { hash } from 'node:crypto';
import type { LocalPod, PodIdentity } from '../../../cluster/node.ts';
import { FlatnetError } from '../../../error.ts';
import { type Family, familyOf } from '../../../ip/address.ts';
import { type Cidr, hostCidr, parsePrefixed, prefixed } from '../../../ip/cidr.ts';
import type { Mac } from '../../../ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../../linux/address.ts';
import { type LinkSpec, linkAdd, linkSet } from '../../../linux/link/change.ts';
import { linkGet } from '../../../linux/link/link.ts';
import { NUD_STALE, neighbourReplace } from '../../../linux/neighbour.ts';
import { withNetns } from '../../../linux/netns.ts';
import { RT_TABLE_MAIN, routeAdd, routeDump } from '../../../linux/route.ts';
import { readSysctl, writeSysctl } from '../../../linux/sysctl.ts';
import {
  DEVICE_PREFIX,
  deviceSysctls,
  GATEWAY,
  HOST_MAC,
  podAlias,
  podRoutes,
} from '../../../wiring/pod-device.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { RouteConfig } from '../../protocol/result.ts';
import type { AttachmentKey } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { createPair, doom, findLink, QUEUES } from '../links.ts';
import { configurePod } from '../pod-end.ts';
import type { PodNetns } from '../pod-netns.ts';

/** A pod with a host end, as every routed one. */
export type RoutedPod = LocalPod & { readonly hostDevice: string };

/** Specification of a routed pod's veth. */
export type RoutedPair = {
  readonly netns: PodNetns;
  /** Bytes. */
  readonly mtu: number;
  /** Of the pod's end. */
  readonly mac: Mac;
  /** The network's families: the host end accepts no packets of others. */
  readonly families: readonly Family[];
  readonly pod: RoutedPod;
};

/**
 * Calico's name for a pod's host device: for `eth0`, the same in every sandbox of the pod. Other interfaces
 * have a name per sandbox.
 */
export function routedDeviceName({ containerId, ifName }: AttachmentKey, pod: PodIdentity): string {
  const { namespace, name } = pod;
  const of = namespace && name && ifName === 'eth0' ? `${namespace}.${name}` : `${containerId}.${ifName}`;
  return DEVICE_PREFIX + hash('sha1', of).slice(0, 11);
}

/** The pod's routes for the result: a default route per family, unless another of its interfaces has one. */
export function gatewayRoutes({ pod, netns }: Pick<RoutedPair, 'pod' | 'netns'>): RouteConfig[] {
  const anywhere = { 4: '0.0.0.0/0', 6: '::/0' } as const;
  const families = new Set(pod.addresses.map(familyOf));
  return [...families].flatMap((family) => {
    const dst = anywhere[family];
    const present = netns.link.dumpSync(routeDump({ family, table: RT_TABLE_MAIN }));
    return present.some((route) => route.dst === dst) ? [] : [{ dst, gw: GATEWAY[family] }];
  });
}

/**
 * Creates the pair, both ends down. An existing device with the name belongs to an earlier sandbox of the
 * same pod, whoever created it, and is removed.
 */
export async function addRoutedPair({ pod, netns, mtu, mac }: RoutedPair, state: CniState): Promise<void> {
  const { hostDevice: name, ifName } = pod;
  const spec: LinkSpec = {
    name,
    mtu,
    mac: HOST_MAC,
    alias: podAlias(pod),
    // Derived from the MAC, whatever the host's default: this is the pod's gateway address.
    addrGenMode: 'eui64',
    queues: QUEUES,
    data: { kind: 'veth', peer: { name: ifName, mac, mtu, netns: netns.fd, queues: QUEUES } },
  };
  await createPair(
    pod,
    state,
    () => state.link.executeSync(linkAdd(spec)),
    () => doom(findLink(state.link, name), state),
  );
}

/**
 * Configures the host end and brings it up; the other end must be up already. The MAC, set on
 * creation, is read back: udev assigns its own (MACAddressPolicy), and pods know only this one for their
 * gateway.
 */
export function configureHostEnd({ pod, mac, families }: RoutedPair, state: CniState): void {
  const { hostDevice: name } = pod;
  const { index, mac: given } = state.link.getSync(linkGet(name));
  state.inNode(() => {
    for (const [path, value] of deviceSysctls(name, families)) setIfThere(path, value);
  });
  state.link.executeSync([
    ...linkSet(index, { up: true, ...(given !== HOST_MAC && { mac: HOST_MAC }) }),
    ...(families.includes(6)
      ? [addressReplace({ dev: index, address: prefixed(GATEWAY[6], 64), flags: IFA_F_NODAD })]
      : []),
    // So that the first packet to the pod needs no neighbour discovery.
    ...pod.addresses.map((ip) => neighbourReplace({ dev: index, ip, mac, state: NUD_STALE })),
  ]);
  addRoutes(pod, index, state);
}

/** Brings the pod's end up with its addresses and a permanent neighbour entry for the gateway. */
export function configureRoutedPod({ pod, netns }: RoutedPair, routes: readonly RouteConfig[]): void {
  withNetns(netns.fd, () => {
    // A new namespace inherits the node's setting, but a pod is not a router.
    if (readSysctl('net/ipv4/ip_forward') === '1') writeSysctl('net/ipv4/ip_forward', 0);
  });
  const onLink = routes.flatMap(({ gw }) => (gw && familyOf(gw) === 4 ? [{ dst: `${gw}/32` }] : []));
  configurePod(
    netns,
    pod.ifName,
    pod.addresses.map((ip) => ({ address: parsePrefixed(hostCidr(ip)) })),
    [...onLink, ...routes],
    routes.flatMap(({ dst }) => ({ ip: GATEWAY[familyOf(dst)], mac: HOST_MAC })),
  );
}

function addRoutes(pod: RoutedPod, dev: number, state: CniState): void {
  const routes = podRoutes(pod);
  const answers = state.link.executeAllSync(routes.map((route) => routeAdd({ ...route, dev })));
  for (const [i, { dst }] of routes.entries()) {
    const error = answers[i];
    if (error?.errno === 'EEXIST') throw routeTaken(dst, pod.hostDevice, state);
    if (error) throw error;
  }
}

/** The error for two pods with the same address; names the pod that already has it. */
function routeTaken(dst: Cidr, hostDevice: string, state: CniState): CniError {
  const others = state.link
    .dumpSync(routeDump({ family: familyOf(dst), table: RT_TABLE_MAIN }))
    .filter((route) => route.dst === dst);
  const owners = others.map(({ type, dev }) => {
    const link = dev === undefined ? undefined : findLink(state.link, dev);
    return link ? `${link.name}${link.alias ? ` (${link.alias})` : ''}` : (type ?? 'another');
  });
  const text = `route ${dst} already exists for an interface other than '${hostDevice}'`;
  return new CniError(CODE.INTERNAL, text, `it leads to ${owners.join(', ')}`);
}

/** A kernel without IPv6 lacks its settings and does not need them. */
function setIfThere(path: string, value: string): void {
  try {
    writeSysctl(path, value);
  } catch (error) {
    const missing = error instanceof FlatnetError && error.code === 'NOT_FOUND';
    if (!missing || !path.startsWith('net/ipv6/')) throw error;
  }
}
