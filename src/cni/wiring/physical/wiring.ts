import { isRouted } from '../../../cluster/physical.ts';
import type { PhysicalWiring } from '../../../cluster/wiring.ts';
import { addressOf, hostCidr, parsePrefixed } from '../../../ip/cidr.ts';
import { type Link, linkGet } from '../../../linux/link/link.ts';
import { NUD_PERMANENT, neighbourDump } from '../../../linux/neighbour.ts';
import type { CniContext } from '../../context.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import type { Attachment } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { findLink, untilOperational } from '../links.ts';
import { chooseMac } from '../mac.ts';
import { podNamespaces } from '../namespaces.ts';
import { PodNetns } from '../pod-netns.ts';
import type { Attached, CheckedAttachment, NewPod, Wiring, WiringPlan } from '../wiring.ts';
import { type PhysicalConf, readPhysicalConf } from './conf.ts';
import {
  addInterface,
  bringUp,
  configureInterface,
  deleteInterface,
  isInterfaceOf,
  nodeNeighbours,
  removeTemporary,
  routesOf,
} from './pod.ts';

export const macvlan = onPhysical('macvlan');
export const ipvlan = onPhysical('ipvlan');

/** Pods on the physical network: an interface in the pod's namespace, and nothing of its own on the node. */
function onPhysical(wiring: PhysicalWiring): Wiring {
  return {
    plan: (call, context) => plan(wiring, call, context),
    link,
    remove,
    strayLinks: () => [],
    check,
  };
}

function remove(record: Attachment, state: CniState): void {
  using netns = namespaceOf(record, state);
  if (!netns) return;
  removeTemporary(netns, record);
  const found = findLink(netns.link, record.ifName);
  if (found && isInterfaceOf(found, record)) deleteInterface(netns, found.index);
}

function plan(wiring: PhysicalWiring, call: Invocation, context: CniContext): WiringPlan {
  const conf = readPhysicalConf(call, context);
  return {
    needsAgent: true,
    addresses: conf.addresses,
    dns: conf.dns,
    record: { wiring, managed: true },
    mac: conf.mac,
    hostDevice: () => undefined,
    prepare: (pod, state) => prepare(conf, pod, state),
    attach: (pod) => attach(conf, pod),
  };
}

async function prepare(
  { physical, mac: asked }: PhysicalConf,
  { key, identity, netns }: Omit<NewPod, 'addresses'>,
  state: CniState,
): Promise<void> {
  const { wiring, mode } = physical.config;
  const isParents = wiring === 'ipvlan' || mode === 'passthru';
  const mac = isParents ? undefined : (asked?.mac ?? chooseMac(key, { wiring, addresses: [] }, state));
  const pod = { ...identity, ...key };
  addInterface({ netns, ifName: key.ifName, physical }, { mac, mtu: state.context.mtu, pod }, state);
  state.step('interface made');
  if (!physical.hasDhcp) return;
  bringUp(netns, key.ifName);
  await untilOperational(netns.link, key.ifName);
}

async function attach({ physical }: PhysicalConf, { key, netns, addresses }: NewPod): Promise<Attached> {
  const { ifName } = key;
  const pod = { netns, ifName, physical };
  // The node routes for the pod, and nothing is on its link.
  const ips = isRouted(physical.config.mode)
    ? addresses.ips.map(({ address }) => ({ address: parsePrefixed(hostCidr(addressOf(address))) }))
    : addresses.ips;
  const routes = [...routesOf(pod, ips), ...addresses.routes];
  configureInterface(pod, ips, routes);
  await untilOperational(netns.link, ifName);
  const { mac, mtu } = netns.link.getSync(linkGet(ifName));
  if (mac === undefined) throw new CniError(CODE.INTERNAL, `${ifName} has no MAC`);
  return {
    interfaces: [{ name: ifName, mac, mtu, sandbox: netns.path }],
    ips: ips.map((ip) => ({ interface: 0, ...ip })),
    routes,
    mtu,
    mac,
  };
}

/** The pod's interface, if it is there. */
function link(record: Attachment, state: CniState): Link | undefined {
  using netns = namespaceOf(record, state);
  const found = netns && findLink(netns.link, record.ifName);
  return found && isInterfaceOf(found, record) ? found : undefined;
}

/** A pod's namespace, which may have outlived the path that ADD was given. */
function namespaceOf(record: Attachment, state: CniState): PodNetns | undefined {
  if (record.bootId !== state.bootId) return undefined;
  return PodNetns.tryOpenKnown(record, state.netns) ?? namespaceWith(record.netnsId, state);
}

function namespaceWith(id: number, state: CniState): PodNetns | undefined {
  for (const netns of podNamespaces(state.netns)) {
    if (netns.id === id) return netns;
    netns[Symbol.dispose]();
  }
  return undefined;
}

/**
 * For a DEL without a record, or without a readable one: what an ADD for the same container left in the pod.
 */
export function removeStray(
  call: Pick<Invocation, 'netns' | 'containerId' | 'ifName'>,
  state: CniState,
): void {
  using netns = PodNetns.tryOpen(call.netns, state.netns);
  if (!netns) return;
  removeTemporary(netns, call);
  const link = findLink(netns.link, call.ifName);
  if (link && isInterfaceOf(link, call)) deleteInterface(netns, link.index);
}

/** Checks what these pods have of the node: the parent, and the node's MAC. */
function check({ record, inside, netns }: CheckedAttachment, state: CniState): void {
  const { physical } = state.context;
  if (inside.kind !== record.wiring)
    throw wrong(`${inside.name} is ${inside.kind ?? 'no'} device, not ${record.wiring}`);
  // Pods keep their wiring when the network's changes.
  if (!physical || physical.config.wiring !== record.wiring) return;
  const parent = findLink(state.link, physical.parent().dev);
  if (inside.linkIndex !== parent?.index) throw wrong(`${inside.name} is not on ${physical.parent().dev}`);
  const families = new Set(record.addresses.map((address) => address.includes(':')));
  const present = netns.link.dumpSync(neighbourDump({ dev: inside.index }));
  for (const { ip, mac } of nodeNeighbours(physical)) {
    if (!families.has(ip.includes(':'))) continue;
    const found = present.find((each) => each.ip === ip);
    if (found?.mac !== mac || ((found.state ?? 0) & NUD_PERMANENT) === 0) {
      throw wrong(`${inside.name} lacks the permanent neighbour ${ip} with MAC ${mac}, its node`);
    }
  }
}

function wrong(text: string): CniError {
  return new CniError(CODE.INTERNAL, text);
}
