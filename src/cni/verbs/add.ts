import { podTitle } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { familyOf, type Ip } from '../../ip/address.ts';
import { addressOf, contains, hostCidr, type Prefixed, parsePrefixed } from '../../ip/cidr.ts';
import type { Assigner } from '../../ipam/assigner.ts';
import type { Allocation } from '../../ipam/host-local.ts';
import { requestedIps } from '../../ipam/requested-ips.ts';
import { assign, handleOf } from '../addresses/blocks.ts';
import { allocate, defaultRoutes } from '../addresses/host-local.ts';
import { readInterfaceConf, readIpamConf, roleOf } from '../protocol/conf.ts';
import { CniError, CODE, unsupported } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { podIdentity } from '../protocol/pod-identity.ts';
import {
  decodeRoutes,
  EMPTY_RESULT,
  encodeResult,
  type Result,
  type RouteConfig,
} from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import { notedDels } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { ensureBridge } from '../wiring/bridge/bridge.ts';
import { untilOperational } from '../wiring/carrier.ts';
import { ownLink } from '../wiring/host-link.ts';
import {
  addPair,
  configurePod,
  findLink,
  hostDeviceName,
  naming,
  type PodLink,
  podMac,
} from '../wiring/pod-link.ts';
import { netnsAt, PodNetns } from '../wiring/pod-netns.ts';
import { attachRouted } from '../wiring/routed/attach.ts';
import { isRouted } from '../wiring/routed/conf.ts';
import { attachChained } from './chained.ts';
import { doNotedDel, keyOf, takeBack } from './del.ts';

/** ADD: gives a container its interface, or another plugin addresses for it, or takes note of what another plugin made. */
export async function attach(call: Invocation, state: CniState): Promise<object> {
  if (roleOf(call.conf) === 'ipam') return encodeResult(await attachAddresses(call, state), call.version);
  if (call.conf.has('prevResult')) return attachChained(call, state);
  const wire = isRouted(call, state.context) ? attachRouted : attachInterface;
  return encodeResult(await wire(call, state), call.version);
}

async function attachInterface(call: Invocation, state: CniState): Promise<Result> {
  const conf = readInterfaceConf(call, state.context);
  if (conf.ownBridge) assertReady(state);
  using netns = PodNetns.open(call.netns, state.netns);
  const key = keyOf(call, 'interface');
  await clearTheWay(key, call, state);
  const hostDevice = hostDeviceName(key);
  const record: Attachment = {
    ...key,
    state: 'adding',
    ...placeOf(call, netns.id, state),
    dir: conf.ipam?.dir ?? '',
    addresses: [],
    hostDevice,
    bridge: conf.bridge,
    hairpin: conf.hairpin,
    managed: conf.ownBridge && conf.hairpin && conf.mtu === state.context.mtu,
  };
  return await recorded(record, state, async () => {
    const addresses = conf.ipam
      ? allocate(state.pools, conf.ipam, call)
      : { ...EMPTY_RESULT, allocations: [] };
    state.step('addresses reserved');
    const ips = addresses.ips.map((ip) => parsePrefixed(ip.address));
    refuseMasquerade(call, conf.bridge, ips, state);
    const bridge = ensureBridge(state, conf, addresses.allocations);
    state.step('bridge ready');
    const mtu = conf.mtu ?? bridge.mtu;
    const mac = conf.mac ?? podMac(conf.bridge, ips.map(addressOf), hostDevice);
    const alias = `flatnet ${podTitle({ ...record, ...record.pod })}`.slice(0, 255);
    const { hairpin } = conf;
    const link = { hostDevice, ifName: call.ifName, netns, bridge, mtu, mac, hairpin, alias, addresses: ips };
    const hostMac = await makePair(state, link);
    state.step('pair made');
    const routes = conf.isDefaultGateway
      ? [...addresses.routes, ...defaultRoutes(addresses.allocations, addresses.routes)]
      : addresses.routes;
    configurePod(link, addresses.ips, routes);
    await untilOperational(state.link, hostDevice);
    await untilOperational(netns.link, call.ifName);
    // With its first port the bridge itself gets its carrier back. One that others made may wait for STP.
    if (conf.ownBridge) await untilOperational(state.link, conf.bridge);
    state.step('pod configured');
    const result: Result = {
      interfaces: [
        { name: conf.bridge, ...(bridge.mac ? { mac: bridge.mac } : {}) },
        { name: hostDevice, mac: hostMac, mtu },
        { name: call.ifName, mac, mtu, sandbox: call.netns },
      ],
      ips: addresses.ips.map((ip) => ({ interface: 2, ...ip })),
      routes,
      dns: Object.keys(conf.dns).length ? conf.dns : addresses.dns,
    };
    return { result, addresses: ips, mtu };
  });
}

/** As another plugin's IPAM delegate. */
async function attachAddresses(call: Invocation, state: CniState): Promise<Result> {
  const conf = readIpamConf(call, state.context);
  const assigner = conf.named ? undefined : state.context.assigner;
  if (!conf.named) assertReady(state);
  const key = keyOf(call, 'ipam');
  await clearTheWay(key, call, state);
  const record: Attachment = {
    ...key,
    state: 'adding',
    ...placeOf(call, netnsAt(call.netns) ?? 0, state),
    ...(assigner ? { dir: '', handle: handleOf(key) } : { dir: conf.dir }),
    addresses: [],
  };
  return await recorded(record, state, async () => {
    if (assigner) return await assignAddresses(assigner, call, state);
    const { allocations, ...addresses } = allocate(state.pools, conf, call);
    state.step('addresses reserved');
    // With their gateways: the reference plugins' CHECK does not find routes without.
    const result = conf.named
      ? addresses
      : { ...addresses, routes: addresses.routes.map(withGateway(allocations)) };
    return { result, addresses: allocations.map(({ address }) => address) };
  });
}

/** Out of the node's blocks: host addresses, and no more routes than the configuration names. */
async function assignAddresses(assigner: Assigner, call: Invocation, state: CniState): Promise<Made> {
  const requested = requestedIps(call.conf.source, call.argsText);
  const assigned = await assign(assigner, call, { requested, pools: [] }, state.context);
  state.step('addresses reserved');
  const addresses = assigned.map(({ ip }) => parsePrefixed(hostCidr(ip)));
  const routes = decodeRoutes(call.conf.object('ipam'));
  return { result: { ...EMPTY_RESULT, ips: addresses.map((address) => ({ address })), routes }, addresses };
}

function withGateway(allocations: readonly Allocation[]): (route: RouteConfig) => RouteConfig {
  return (route) => {
    const gateway = allocations.find((a) => familyOf(a.gateway) === familyOf(route.dst))?.gateway;
    return { ...(gateway ? { gw: gateway } : {}), ...route };
  };
}

/** What became of an ADD. */
type Made = {
  readonly result: Result;
  readonly addresses: readonly Prefixed[];
  readonly mtu?: number;
  readonly borrowed?: readonly Ip[];
};

/** Does the work of an ADD between its two records, and takes everything back if it fails. */
export async function recorded(
  record: Attachment,
  state: CniState,
  work: () => Promise<Made>,
): Promise<Result> {
  state.attachments.write(record);
  state.step('record written');
  try {
    const { result, addresses, mtu, borrowed } = await work();
    const ready: Attachment = {
      ...record,
      state: 'ready',
      addresses,
      ...(mtu ? { mtu } : {}),
      ...(borrowed?.length ? { borrowed } : {}),
    };
    state.attachments.write(ready);
    state.step('record completed');
    const pod = localPod(ready);
    if (pod) state.context.attached(pod);
    return result;
  } catch (error) {
    try {
      // An owner that has an address already keeps it: it is another attachment's, and this one got none.
      const taken = error instanceof FlatnetError && error.code === 'ADDRESS_TAKEN';
      await takeBack(taken ? { ...record, dir: '' } : record, state);
    } catch (second) {
      state.context.warn(`taking back a failed ADD of ${record.containerId}`, second);
    }
    throw error;
  }
}

/** What a record says of the pod. */
export function placeOf(
  call: Invocation,
  netnsId: number,
  state: CniState,
): Pick<Attachment, 'netns' | 'netnsId' | 'bootId' | 'pod'> {
  return { netns: call.netns, netnsId, bootId: state.bootId, pod: podIdentity(call) };
}

/**
 * Refuses a second ADD while the first one's work stands; removes what an earlier one left that was cut short, or whose
 * DEL was noted while no agent was there to do it.
 */
export async function clearTheWay(key: AttachmentKey, call: Invocation, state: CniState): Promise<void> {
  for (const note of notedDels(state.context.stateDir, call)) await doNotedDel(note, state);
  const earlier = state.attachments.read(key);
  if (!earlier) return;
  const stands =
    earlier.state === 'ready' &&
    earlier.bootId === state.bootId &&
    earlier.netnsId === netnsAt(call.netns) &&
    (!earlier.hostDevice || ownLink(earlier, state));
  if (stands) {
    throw new CniError(
      CODE.INTERNAL,
      `container ${key.containerId} has interface ${key.ifName} on network ${key.network} already`,
      'DEL comes before a second ADD',
    );
  }
  await takeBack(earlier, state);
}

export function assertReady({ context }: CniState): void {
  const reason = context.notReady();
  if (reason) throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', reason);
}

/** The agent masquerades what leaves the cluster's networks; more is nobody's work here. */
export function refuseMasquerade(
  call: Invocation,
  dev: string,
  ips: readonly Prefixed[],
  state: CniState,
): void {
  if (!call.conf.boolean('ipMasq')) return;
  const { masquerade, networks } = state.context;
  const covered = ips.every((ip) => networks.some((network) => contains(network, addressOf(ip))));
  if (masquerade && covered) return;
  const why = masquerade
    ? `addresses of ${dev} are outside ${networks.join(', ')}`
    : 'the agent does not masquerade';
  throw unsupported('ipMasq', true, why);
}

/**
 * Either name may still be that of a link waiting to be swept, from a DEL a moment ago. To try and fail would cost more than
 * to look: the kernel makes and unmakes the pod's end then, and counts up the interface indexes of its namespace.
 */
async function makePair(state: CniState, link: PodLink): Promise<string> {
  const { hostDevice, ifName, netns } = link;
  if (state.sweeper.busy && (findLink(state.link, hostDevice) || findLink(netns.link, ifName))) {
    await state.sweeper.sweep();
  }
  return naming(ifName, hostDevice, () => addPair(state.link, link));
}
