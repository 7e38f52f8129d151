import type { Ip } from '../../../ip/address.ts';
import { addressOf, hostCidr, parsePrefixed } from '../../../ip/cidr.ts';
import { macFromSeed } from '../../../ip/mac.ts';
import { HOST_MAC } from '../../../wiring/pod-device.ts';
import { assign, familiesOf, handleOf } from '../../addresses/blocks.ts';
import { allocate } from '../../addresses/host-local.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import type { Dns, Result } from '../../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { assertReady, clearTheWay, placeOf, recorded, refuseMasquerade } from '../../verbs/add.ts';
import { keyOf, takeBack } from '../../verbs/del.ts';
import { untilOperational } from '../carrier.ts';
import { PodNetns } from '../pod-netns.ts';
import { type RoutedConf, readRoutedConf } from './conf.ts';
import {
  addRoutedPair,
  configureRoutedPod,
  gatewayRoutes,
  makeRoom,
  type RoutedLink,
  routedDeviceName,
} from './link.ts';

/** ADD of a pod that is a route: an interface with host addresses and a gateway that is nobody's, on a wire of its own. */
export async function attachRouted(call: Invocation, state: CniState): Promise<Result> {
  const { context } = state;
  const conf = readRoutedConf(call, context);
  assertReady(state);
  using netns = PodNetns.open(call.netns, state.netns);
  const key = keyOf(call, 'interface');
  await clearTheWay(key, call, state);
  const place = placeOf(call, netns.id, state);
  const hostDevice = routedDeviceName(key, place.pod);
  await evict(hostDevice, key, state);
  const record: Attachment = {
    ...key,
    state: 'adding',
    ...place,
    dir: conf.ipam?.dir ?? '',
    ...(context.assigner && { handle: handleOf(key) }),
    addresses: [],
    hostDevice,
    wiring: 'routed',
    managed: true,
  };
  return await recorded(record, state, async () => {
    const { ips, borrowed, dns } = await takeAddresses(call, conf, state);
    state.step('addresses reserved');
    const addresses = ips.map((ip) => parsePrefixed(hostCidr(ip)));
    refuseMasquerade(call, hostDevice, addresses, state);
    const { mtu } = context;
    const mac = conf.mac ?? macFromSeed(`${hostDevice} pod`);
    const pod = {
      labels: {},
      ...place.pod,
      ...key,
      netns: call.netns,
      hostDevice,
      addresses: ips,
      borrowed,
    };
    const link: RoutedLink = { netns, mtu, mac, families: familiesOf(context), pod };
    await makeRoom(link, state);
    const routes = gatewayRoutes(link);
    addRoutedPair(link, state);
    state.step('pair made');
    configureRoutedPod(link, routes);
    await untilOperational(state.link, hostDevice);
    await untilOperational(netns.link, call.ifName);
    state.step('pod configured');
    const result: Result = {
      interfaces: [
        { name: hostDevice, mac: HOST_MAC, mtu },
        { name: call.ifName, mac, mtu, sandbox: call.netns },
      ],
      ips: addresses.map((address) => ({ interface: 1, address })),
      routes,
      dns,
    };
    return { result, addresses, mtu, borrowed };
  });
}

type Taken = { readonly ips: readonly Ip[]; readonly borrowed: readonly Ip[]; readonly dns: Dns };

/** Out of the node's subnets, or of its blocks. */
async function takeAddresses(call: Invocation, conf: RoutedConf, state: CniState): Promise<Taken> {
  const { assigner } = state.context;
  if (conf.ipam) {
    const { ips, dns } = allocate(state.pools, conf.ipam, call);
    const own = ips.map(({ address }) => addressOf(parsePrefixed(address)));
    return { ips: own, borrowed: [], dns: Object.keys(conf.dns).length > 0 ? conf.dns : dns };
  }
  if (!assigner) throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', 'it has no blocks');
  const assigned = await assign(assigner, call, conf, state.context);
  return {
    ips: assigned.map(({ ip }) => ip),
    borrowed: assigned.flatMap(({ ip, borrowed }) => (borrowed ? [ip] : [])),
    dns: conf.dns,
  };
}

/**
 * A pod that comes again while its earlier sandbox was never deleted: the name of the device is the new one's now, and nothing
 * answers for the old one's addresses any more.
 */
async function evict(hostDevice: string, key: AttachmentKey, state: CniState): Promise<void> {
  for (const earlier of state.attachments.onDevice(hostDevice)) {
    if (earlier.containerId === key.containerId) continue;
    // Not to wait for it: it may be waiting for us.
    if (state.locks.isHeld(earlier.containerId)) {
      const text = `another sandbox of the pod is at work on ${hostDevice}`;
      throw new CniError(CODE.TRY_AGAIN, text, earlier.containerId);
    }
    await state.locks.run(earlier.containerId, async () => takeBack(earlier, state));
  }
}
