import { addressOf, hostCidr, parsePrefixed } from '../../../ip/cidr.ts';
import { type Link, linkDump } from '../../../linux/link/link.ts';
import { OUR_ALIAS } from '../../../state/ownership.ts';
import { HOST_MAC, ownerMark, podAlias } from '../../../wiring/pod-device.ts';
import { familiesOf } from '../../addresses/blocks.ts';
import type { CniContext } from '../../context.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import type { Attachment } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { doom, findLink, hostEndOf, untilOperational } from '../links.ts';
import { chooseMac } from '../mac.ts';
import type { Attached, NewPod, Wiring, WiringPlan } from '../wiring.ts';
import { check } from './check.ts';
import { type RoutedConf, readRoutedConf } from './conf.ts';
import {
  addRoutedPair,
  configureHostEnd,
  configureRoutedPod,
  gatewayRoutes,
  type RoutedPod,
  routedDeviceName,
} from './pair.ts';

/**
 * Pods as standalone hosts: each has a point-to-point link to the node, host addresses, and a gateway address
 * that is not assigned to any host.
 */
export const routed: Wiring = {
  plan,
  link,
  remove: (record, state) => doom(link(record, state), state),
  /** By alias: device names derive from the pod's name. */
  strayLinks(key, state) {
    const mark = ownerMark(key);
    return state.link
      .dumpSync(linkDump({ kind: 'veth' }))
      .filter(({ alias }) => alias?.startsWith(OUR_ALIAS) && alias.endsWith(mark));
  },
  check,
};

function plan(call: Invocation, context: CniContext): WiringPlan {
  const conf = readRoutedConf(call, context);
  return {
    needsAgent: true,
    addresses: conf.addresses,
    dns: conf.dns,
    record: { wiring: 'routed', managed: true },
    mac: conf.mac,
    hostDevice: routedDeviceName,
    attach: (pod, state) => attach(conf, pod, state),
  };
}

async function attach(conf: RoutedConf, wanted: NewPod, state: CniState): Promise<Attached> {
  const { key, netns, identity, addresses } = wanted;
  const hostDevice = routedDeviceName(key, identity);
  const { mtu } = state.context;
  const ips = addresses.ips.map(({ address }) => address);
  const mac = conf.mac?.mac ?? chooseMac(key, { wiring: 'routed', hostDevice, addresses: ips }, state);
  const pod: RoutedPod = {
    ...identity,
    ...key,
    netns: netns.path,
    hostDevice,
    addresses: ips.map(addressOf),
    borrowed: addresses.borrowed,
  };
  const pair = { netns, mtu, mac, families: familiesOf(state.context), pod };
  await addRoutedPair(pair, state);
  // Not earlier: leftovers of an earlier pair may have had these routes.
  const routes = gatewayRoutes(pair);
  state.step('pair made');
  // Nothing is awaited in between: see the bridge's wiring.
  configureRoutedPod(pair, routes);
  configureHostEnd(pair, state);
  await untilOperational(state.link, hostDevice);
  await untilOperational(netns.link, key.ifName);
  return {
    interfaces: [
      { name: hostDevice, mac: HOST_MAC, mtu },
      { name: key.ifName, mac, mtu, sandbox: netns.path },
    ],
    ips: pod.addresses.map((ip) => ({ interface: 1, address: parsePrefixed(hostCidr(ip)) })),
    routes,
    mtu,
    mac,
  };
}

/** Names derive from the pod's, and pods return: a device with that name may belong to a newer sandbox. */
function link(record: Attachment, state: CniState): Link | undefined {
  const { hostDevice } = record;
  const found = hostDevice ? findLink(state.link, hostDevice) : undefined;
  return found?.alias === podAlias({ ...record, ...record.pod }) ? found : hostLinkByNetns(record, state);
}

/** Handles a changed alias, if the namespace is still the one from ADD. */
function hostLinkByNetns(record: Attachment, state: CniState): Link | undefined {
  return record.bootId === state.bootId ? hostEndOf(record, state) : undefined;
}
