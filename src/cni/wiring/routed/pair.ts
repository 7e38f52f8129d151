import { createHash } from 'node:crypto';
import type { LocalPod, PodIdentity } from '../../../cluster/node.ts';
import { FlatnetError } from '../../../error.ts';
import { type Family, familyOf } from '../../../ip/address.ts';
import { type Cidr, hostCidr, parsePrefixed, prefixed } from '../../../ip/cidr.ts';
import type { Mac } from '../../../ip/mac.ts';
import { addressReplace, IFA_F_NODAD } from '../../../linux/address.ts';
import { type LinkSpec, linkAdd, linkGet, linkSet } from '../../../linux/link/link.ts';
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
import { doom, findLink, makePair } from '../links.ts';
import { configurePod } from '../pod-end.ts';
import type { PodNetns } from '../pod-netns.ts';

/** A routed pod's veth: what it is to be. */
export type RoutedPair = {
  readonly netns: PodNetns;
  /** Bytes. */
  readonly mtu: number;
  /** Of the pod's end. */
  readonly mac: Mac;
  /** Those of the network: in others the host's end takes no packets. */
  readonly families: readonly Family[];
  readonly pod: LocalPod;
};

/**
 * Calico's name for a pod's host device: that of a pod's `eth0` is the same in every sandbox of the pod.
 * Other interfaces have names of their own.
 */
export function routedDeviceName({ containerId, ifName }: AttachmentKey, pod: PodIdentity): string {
  const { namespace, name } = pod;
  const of = namespace && name && ifName === 'eth0' ? `${namespace}.${name}` : `${containerId}.${ifName}`;
  return DEVICE_PREFIX + createHash('sha1').update(of).digest('hex').slice(0, 11);
}

/**
 * The routes of a pod, as a result tells them: those to everywhere, where no other interface of it has them
 * already.
 */
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
 * Makes the pair and the host's side of it. What has the device's name belongs to an earlier sandbox of the
 * same pod, whoever made it, and goes. The MAC is given at once, and read back: udev gives devices MACs of
 * its own taste (MACAddressPolicy), and a pod knows only this one for its gateway.
 */
export async function addRoutedPair(
  { pod, netns, mtu, mac, families }: RoutedPair,
  state: CniState,
): Promise<void> {
  const { hostDevice: name, ifName } = pod;
  const spec: LinkSpec = {
    name,
    mtu,
    mac: HOST_MAC,
    alias: podAlias(pod),
    // From the MAC, whatever the host has as its default: it is the pod's gateway.
    addrGenMode: 'eui64',
    data: { kind: 'veth', peer: { name: ifName, mac, mtu, netns: netns.fd } },
  };
  await makePair(
    pod,
    state,
    () => state.link.executeSync(linkAdd(spec)),
    () => doom(findLink(state.link, name), state),
  );
  const { index, mac: given } = state.link.getSync(linkGet(name));
  state.inNode(() => {
    for (const [path, value] of deviceSysctls(name, families)) setIfThere(path, value);
  });
  state.link.executeSync([
    ...linkSet(index, { up: true, ...(given !== HOST_MAC && { mac: HOST_MAC }) }),
    ...(families.includes(6)
      ? [addressReplace({ dev: index, address: prefixed(GATEWAY[6], 64), flags: IFA_F_NODAD })]
      : []),
    // So that the first packet to the pod need not ask for it.
    ...pod.addresses.map((ip) => neighbourReplace({ dev: index, ip, mac, state: NUD_STALE })),
  ]);
  addRoutes(pod, index, state);
}

/** Brings the pod's end up, with its addresses and the gateway, whose MAC it need not ask for. */
export function configureRoutedPod({ pod, netns }: RoutedPair, routes: readonly RouteConfig[]): void {
  withNetns(netns.fd, () => {
    // A new namespace inherits the node's setting, and a pod is no router.
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

function addRoutes(pod: LocalPod, dev: number, state: CniState): void {
  const routes = podRoutes(pod);
  const answers = state.link.executeAllSync(routes.map((route) => routeAdd({ ...route, dev })));
  for (const [i, { dst }] of routes.entries()) {
    const error = answers[i];
    if (error?.errno === 'EEXIST') throw routeTaken(dst, pod.hostDevice, state);
    if (error) throw error;
  }
}

/** Two pods with one address: says which has it already. */
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

/** A kernel without IPv6 has none of its settings, and needs none. */
function setIfThere(path: string, value: string): void {
  try {
    writeSysctl(path, value);
  } catch (error) {
    const missing = error instanceof FlatnetError && error.code === 'NOT_FOUND';
    if (!missing || !path.startsWith('net/ipv6/')) throw error;
  }
}
