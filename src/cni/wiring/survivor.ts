import { closeSync } from 'node:fs';
import { podName } from '../../cluster/node.ts';
import { FAMILIES, type Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import { addressDump } from '../../linux/address.ts';
import { type Link, linkDump } from '../../linux/link/link.ts';
import { openNetns } from '../../linux/netns.ts';
import { netnsPeerId } from '../../linux/netns-peer.ts';
import { RT_TABLE_MAIN, routeDump } from '../../linux/route.ts';
import { OUR_ALIAS, OUR_PROTOCOL, OUR_PROTOCOLS } from '../../state/ownership.ts';
import { DEVICE_PREFIX, ownerMark } from '../../wiring/pod-device.ts';
import { leaseIdOf } from '../addresses/dhcp.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import { UNKNOWN_NETNS } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { hostDeviceName } from './bridge/pair.ts';
import { findLink } from './links.ts';
import { podNamespaces } from './namespaces.ts';
import { interfacesOf } from './physical/survivor.ts';
import { PodNetns } from './pod-netns.ts';
import { strayLinks } from './registry.ts';
import { DOOMED } from './sweep.ts';

/** The host ends of our pods that no record names. */
export function unrecordedLinks(known: ReadonlySet<string | undefined>, state: CniState): Link[] {
  return state.link
    .dumpSync(linkDump({ kind: 'veth' }))
    .filter((link) => isAlive(link) && link.alias?.startsWith(`${OUR_ALIAS} `) && !known.has(link.name));
}

/** Whether a link with our alias is the host end of this attachment. */
export function isHostEndOf({ name, alias }: Link, key: AttachmentKey): boolean {
  return name === hostDeviceName(key) || (alias?.endsWith(ownerMark(key)) ?? false);
}

/** An interface that outlived its record. */
export type Survivor = {
  /** Without addresses, source and MAC, which the kernel does not prove. */
  readonly record: Attachment;
  /** The addresses that the node's own routes lead to it, and whether they are announced one by one. */
  readonly routes: readonly { readonly ip: Ip; readonly isAnnounced: boolean }[];
  /** What the pod's end shows to the node: the pod may have changed it. */
  readonly shownMac: Mac | undefined;
};

/**
 * Finds what the kernel holds of an attachment: name, settings and alias of its host end, and the namespace
 * with its other end, if that is in sight; or the only interface on a physical network that may be it.
 * Undefined if there is no such interface.
 */
export function survivor(key: AttachmentKey, state: CniState): Survivor | undefined {
  const link = strayLinks(key, state).find(isAlive);
  if (!link) return survivorOnPhysical(key, state);
  const pod = podOf(link, state);
  const bridge = link.master === undefined ? undefined : findLink(state.link, link.master)?.name;
  const hairpin = link.port?.hairpin ?? false;
  const record: Attachment = {
    ...key,
    state: 'ready',
    netns: pod?.path ?? '',
    netnsId: pod?.id ?? UNKNOWN_NETNS,
    bootId: state.bootId,
    dir: '',
    addresses: [],
    hostDevice: link.name,
    mtu: link.mtu,
    pod: { ...identityIn(link.alias), labels: {} },
    ...(link.name.startsWith(DEVICE_PREFIX)
      ? { wiring: 'routed', managed: true }
      : {
          ...(bridge !== undefined && { bridge }),
          hairpin,
          managed: bridge === state.context.bridge && hairpin,
        }),
  };
  return { record, routes: routesTo(link, state), shownMac: pod?.mac };
}

function survivorOnPhysical(key: AttachmentKey, state: CniState): Survivor | undefined {
  if (!state.context.physical && !state.context.leases?.recordOf(leaseIdOf(key))) return undefined;
  const [found, ...others] = interfacesOf(key, state);
  if (!found || others.length > 0) return undefined;
  const { netns, netnsId, wiring, mtu, alias, mac } = found;
  const { bootId } = state;
  const pod = { ...identityIn(alias), labels: {} };
  const own = { netns, netnsId, bootId, dir: '', addresses: [], mtu, pod, wiring, managed: true };
  return { record: { ...key, state: 'ready', ...own }, routes: [], shownMac: mac };
}

/** Whether an interface of this name is in sight that has one of these addresses, whoever made it. */
export function isInSight({ ifName }: AttachmentKey, ips: readonly Ip[], state: CniState): boolean {
  for (const netns of podNamespaces(state.netns)) {
    using pod = netns;
    const inside = findLink(pod.link, ifName);
    const present = inside ? pod.link.dumpSync(addressDump(undefined, inside.index)) : [];
    if (present.some(({ address }) => ips.includes(addressOf(address)))) return true;
  }
  return false;
}

/**
 * Whether the pod's interface leads to another node: the record came with a folder copied from there. Both
 * ends of a veth live and die together, so an end without the other one here has it elsewhere.
 */
export function leadsElsewhere(record: Attachment, state: CniState): boolean {
  using pod = PodNetns.tryOpenKnown(record, state.netns);
  const inside = pod && findLink(pod.link, record.ifName);
  if (!pod || inside?.kind !== 'veth' || inside.netnsId === undefined) return false;
  const node = openNetns(state.netns);
  try {
    return pod.link.getSync(netnsPeerId(node)) !== inside.netnsId;
  } finally {
    closeSync(node);
  }
}

function isAlive({ kind, group }: Link): boolean {
  return kind === 'veth' && group !== DOOMED;
}

function routesTo({ index }: Link, state: CniState): Survivor['routes'] {
  return FAMILIES.flatMap((family) =>
    state.link.dumpSync(routeDump({ family, table: RT_TABLE_MAIN, dev: index })),
  )
    .filter(({ dev, dst, protocol = 0 }) => dev === index && isHost(dst) && OUR_PROTOCOLS.has(protocol))
    .map(({ dst, protocol }) => ({ ip: addressOf(dst), isAnnounced: protocol === OUR_PROTOCOL }));
}

/** The pod's namespace, and the MAC of its interface there, whatever that is called by now. */
type Found = { readonly path: string; readonly id: number; readonly mac: Mac | undefined };

function podOf(link: Link, state: CniState): Found | undefined {
  for (const netns of podNamespaces(state.netns)) {
    using pod = netns;
    if (link.linkIndex === undefined || state.link.getSync(netnsPeerId(pod.fd)) !== link.netnsId) continue;
    const inside = findLink(pod.link, link.linkIndex);
    if (inside?.linkIndex === link.index) return { path: pod.path, id: pod.id, mac: inside.mac };
  }
  return undefined;
}

/** `flatnet NAMESPACE/NAME …`. */
function identityIn(alias = ''): { readonly namespace?: string; readonly name?: string } {
  const [, namespace, name] = /^\S+ ([^/\s]+)\/(\S+)/.exec(alias) ?? [];
  return namespace && name && podName({ namespace, name }) ? { namespace, name } : {};
}

function isHost(dst: string): boolean {
  return dst.endsWith(dst.includes(':') ? '/128' : '/32');
}
