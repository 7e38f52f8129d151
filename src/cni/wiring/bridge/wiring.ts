import { podTitle } from '../../../cluster/node.ts';
import { familyOf, type Ip } from '../../../ip/address.ts';
import { linkUp } from '../../../linux/link/change.ts';
import type { Link } from '../../../linux/link/link.ts';
import { hostLocal } from '../../addresses/host-local.ts';
import type { PodAddress } from '../../addresses/source.ts';
import type { CniContext } from '../../context.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import type { RouteConfig } from '../../protocol/result.ts';
import type { Attachment } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { doom, findLink, untilOperational } from '../links.ts';
import { chooseMac } from '../mac.ts';
import { configurePod } from '../pod-end.ts';
import type { Attached, CheckedAttachment, NewPod, Wiring, WiringPlan } from '../wiring.ts';
import { ensureBridge } from './bridge.ts';
import { type BridgeConf, readBridgeConf } from './conf.ts';
import { addPair, hostDeviceName } from './pair.ts';

/**
 * Pods as ports of a bridge that is their gateway: the agent's own, or one named by a configuration for the
 * reference plugin.
 */
export const bridge: Wiring = {
  plan,
  link,
  remove: (record, state) => doom(link(record, state), state),
  strayLinks(key, state) {
    const link = findLink(state.link, hostDeviceName(key));
    return link ? [link] : [];
  },
  check,
};

function link({ hostDevice }: Attachment, state: CniState): Link | undefined {
  return hostDevice ? findLink(state.link, hostDevice) : undefined;
}

function plan(call: Invocation, context: CniContext): WiringPlan {
  const conf = readBridgeConf(call, context);
  const { bridge, hairpin, mtu, ownBridge } = conf;
  return {
    needsAgent: ownBridge,
    addresses: conf.ipam && hostLocal(conf.ipam),
    dns: conf.dns,
    record: { bridge, hairpin, managed: ownBridge && hairpin && mtu === context.mtu },
    mac: conf.mac,
    hostDevice: hostDeviceName,
    attach: (pod, state) => attach(conf, pod, state),
  };
}

async function attach(conf: BridgeConf, pod: NewPod, state: CniState): Promise<Attached> {
  const { key, netns, identity, addresses } = pod;
  const hostDevice = hostDeviceName(key);
  const { hairpin } = conf;
  const { ifName } = key;
  const gateways = addresses.ips.flatMap(({ gateway }) => gateway ?? []);
  const bridge = ensureBridge(conf, addresses.ips, state);
  state.step('bridge ready');
  const ips = addresses.ips.map(({ address }) => address);
  const mtu = conf.mtu ?? bridge.mtu;
  const mac = conf.mac?.mac ?? chooseMac(key, { bridge: conf.bridge, hostDevice, addresses: ips }, state);
  const alias = `flatnet ${podTitle({ ...identity, ...key })}`.slice(0, 255);
  const hostMac = await addPair(
    { hostDevice, ifName, netns, bridge, mtu, mac, hairpin, alias, addresses: ips },
    state,
  );
  state.step('pair made');
  const routes = conf.isDefaultGateway
    ? [...addresses.routes, ...defaultRoutes(gateways, addresses.routes)]
    : addresses.routes;
  // The host's end comes up last, and nothing is awaited before: an end that is up without a carrier is soon
  // deactivated, and all changes to the network wait until nothing is sending through it (linkwatch_do_dev).
  configurePod(netns, ifName, addresses.ips, routes);
  state.link.executeSync(linkUp(hostDevice));
  await untilOperational(state.link, hostDevice);
  await untilOperational(netns.link, ifName);
  // With its first port the bridge itself regains its carrier. A bridge created by others may wait for STP.
  if (conf.ownBridge && !bridge.operational) await untilOperational(state.link, conf.bridge);
  return {
    interfaces: [
      { name: conf.bridge, ...(bridge.mac ? { mac: bridge.mac } : {}) },
      { name: hostDevice, mac: hostMac, mtu },
      { name: ifName, mac, mtu, sandbox: netns.path },
    ],
    ips: addresses.ips.map((ip: PodAddress) => ({ interface: 2, ...ip })),
    routes,
    mtu,
    mac,
  };
}

/** The default routes for `isDefaultGateway`, for families without one in the configuration. */
function defaultRoutes(gateways: readonly Ip[], routes: readonly RouteConfig[]): RouteConfig[] {
  const missing = gateways.filter((gateway) => !routes.some((route) => route.dst === anywhere(gateway)));
  const first = missing.filter((a, i) => missing.findIndex((b) => familyOf(a) === familyOf(b)) === i);
  return first.map((gateway) => ({ dst: anywhere(gateway), gw: gateway }));
}

function anywhere(ip: Ip): string {
  return familyOf(ip) === 4 ? '0.0.0.0/0' : '::/0';
}

function check({ record, outside }: CheckedAttachment, state: CniState): void {
  if (!outside) return;
  const { name, master, port } = outside;
  const { bridge = '', hairpin } = record;
  if (!master || findLink(state.link, master)?.name !== bridge) {
    throw new CniError(CODE.INTERNAL, `the host's end ${name} is not a port of ${bridge}`);
  }
  if (hairpin && !port?.hairpin) throw new CniError(CODE.INTERNAL, `hairpin mode of ${name} is off`);
}
