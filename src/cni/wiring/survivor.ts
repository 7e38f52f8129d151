import { closeSync, readdirSync } from 'node:fs';
import { podName } from '../../cluster/node.ts';
import { FAMILIES } from '../../ip/address.ts';
import { addressOf, type Prefixed, parsePrefixed } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import { addressDump, RT_SCOPE_UNIVERSE } from '../../linux/address.ts';
import { type Link, linkDump } from '../../linux/link/link.ts';
import { neighbourDump } from '../../linux/neighbour.ts';
import { netnsId, openNetns } from '../../linux/netns.ts';
import { netnsPeerId } from '../../linux/netns-peer.ts';
import { RT_TABLE_MAIN, routeDump } from '../../linux/route.ts';
import { OUR_ALIAS, OUR_PROTOCOL, OUR_PROTOCOLS } from '../../state/ownership.ts';
import { DEVICE_PREFIX, ownerMark } from '../../wiring/pod-device.ts';
import { type Attachment, type AttachmentKey, handleOf } from '../records/attachment.ts';
import { UNKNOWN_NETNS } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { hostDeviceName } from './bridge/pair.ts';
import { findLink } from './links.ts';
import { netnsAt, PodNetns } from './pod-netns.ts';
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

/**
 * Rebuilds the record of a pod's interface that still exists from what the kernel holds: name, settings and
 * alias of its host end, the namespace with its other end, the addresses there or, where that namespace is
 * out of sight, in the node's routes and the reservations. Undefined if there is no such interface.
 */
export function survivor(key: AttachmentKey, reserved: readonly Prefixed[], state: CniState) {
  const link = strayLinks(key, state).find(isAlive);
  if (!link) return undefined;
  const routes = routesTo(link, state);
  const pod = podOf(link, key, state);
  const addresses = [pod?.addresses, routes.map(({ dst }) => parsePrefixed(dst)), reserved];
  const borrowed = routes.filter(({ protocol }) => protocol === OUR_PROTOCOL);
  const bridge = link.master === undefined ? undefined : findLink(state.link, link.master)?.name;
  const isRouted = link.name.startsWith(DEVICE_PREFIX);
  const hairpin = link.port?.hairpin ?? false;
  const record: Attachment = {
    ...key,
    state: 'ready',
    netns: pod?.path ?? '',
    netnsId: pod?.id ?? UNKNOWN_NETNS,
    bootId: state.bootId,
    dir: '',
    addresses: addresses.find((some) => some !== undefined && some.length > 0) ?? [],
    hostDevice: link.name,
    mtu: link.mtu,
    pod: { ...identityIn(link.alias), labels: {} },
    ...(isRouted
      ? { wiring: 'routed', managed: true }
      : {
          ...(bridge !== undefined && { bridge }),
          hairpin,
          managed: bridge === state.context.bridge && hairpin,
        }),
    ...(isRouted && reserved.length === 0 && state.context.assigner && { handle: handleOf(key) }),
    ...(borrowed.length > 0 && { borrowed: borrowed.map(({ dst }) => addressOf(dst)) }),
  };
  return record;
}

/** The MAC of a pod's interface as the node's neighbour table has it. */
export function neighbourMac(record: Attachment, { link: socket }: CniState): Mac | undefined {
  const device = findLink(socket, record.bridge ?? record.hostDevice ?? '');
  const ips = record.addresses.map(addressOf);
  const neighbours = device ? socket.dumpSync(neighbourDump({ dev: device.index })) : [];
  return neighbours.find(({ ip, mac }) => mac !== undefined && ips.includes(ip))?.mac;
}

/**
 * Whether the pod's interface leads to another node: the record came with a folder copied from there. Both
 * ends of a veth live and die together, so an end without the other one here has it elsewhere.
 */
export function leadsElsewhere({ netns, netnsId: id, ifName }: Attachment, state: CniState): boolean {
  if (netnsAt(netns) !== id) return false;
  using pod = PodNetns.tryOpen(netns, state.netns);
  const inside = pod && findLink(pod.link, ifName);
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

function routesTo({ index }: Link, state: CniState) {
  return FAMILIES.flatMap((family) =>
    state.link.dumpSync(routeDump({ family, table: RT_TABLE_MAIN, dev: index })),
  ).filter(({ dev, dst, protocol = 0 }) => dev === index && isHost(dst) && OUR_PROTOCOLS.has(protocol));
}

/** The pod's namespace, and its addresses there. */
type Found = { readonly path: string; readonly id: number; readonly addresses: readonly Prefixed[] };

function podOf(link: Link, { ifName }: AttachmentKey, state: CniState): Found | undefined {
  const seen = new Set<number>();
  for (const path of namespaces()) {
    const id = netnsAt(path);
    if (id === undefined || seen.has(id) || id === netnsId(state.netns)) continue;
    seen.add(id);
    using netns = PodNetns.tryOpen(path, state.netns);
    if (!netns || state.link.getSync(netnsPeerId(netns.fd)) !== link.netnsId) continue;
    const inside = findLink(netns.link, ifName);
    if (inside?.linkIndex !== link.index || link.linkIndex !== inside.index) continue;
    const addresses = netns.link
      .dumpSync(addressDump(undefined, inside.index))
      .filter(({ scope = RT_SCOPE_UNIVERSE }) => scope === RT_SCOPE_UNIVERSE);
    return { path, id, addresses: addresses.map(({ address }) => address) };
  }
  return undefined;
}

/** Paths of all namespaces in sight: those with a name, then those of processes. */
function* namespaces(): Generator<string> {
  for (const dir of ['/run/netns', '/var/run/netns', '/run/docker/netns'])
    for (const name of namesIn(dir)) yield `${dir}/${name}`;
  for (const pid of namesIn('/proc')) if (/^\d+$/.test(pid)) yield `/proc/${pid}/ns/net`;
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** `flatnet NAMESPACE/NAME …`. */
function identityIn(alias = ''): { readonly namespace?: string; readonly name?: string } {
  const [, namespace, name] = /^\S+ ([^/\s]+)\/(\S+)/.exec(alias) ?? [];
  return namespace && name && podName({ namespace, name }) ? { namespace, name } : {};
}

function isHost(dst: string): boolean {
  return dst.endsWith(dst.includes(':') ? '/128' : '/32');
}
