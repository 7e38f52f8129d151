import { type Family, familyOf, type Ip } from '../../../ip/address.ts';
import { addressOf, lengthOf, prefixed } from '../../../ip/cidr.ts';
import { requestedIps } from '../../../ipam/requested-ips.ts';
import { readIpamConf } from '../../addresses/conf.ts';
import { dhcp } from '../../addresses/dhcp.ts';
import { hostLocal } from '../../addresses/host-local.ts';
import type { AddressSource } from '../../addresses/source.ts';
import { readBandwidth } from '../../capabilities/bandwidth.ts';
import { readHostPorts } from '../../capabilities/host-ports.ts';
import type { CniContext, PhysicalNetwork } from '../../context.ts';
import { type RequestedMac, readMac, rejectUnsupported } from '../../protocol/conf.ts';
import { CniError, CODE, unsupported } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import { podRequests } from '../../protocol/pod.ts';
import { type Dns, decodeDns, decodeRoutes } from '../../protocol/result.ts';

/** Our own configuration on a node whose pods are on a physical network. */
export type PhysicalConf = {
  readonly physical: PhysicalNetwork;
  readonly mac: RequestedMac | undefined;
  readonly addresses: AddressSource;
  readonly dns: Dns;
};

/** Keys of bridge configurations that conflict with these wirings, with the value that does not. */
const NEUTRAL: readonly (readonly [key: string, value: boolean])[] = [
  ['isGateway', false],
  ['promiscMode', false],
  ['hairpinMode', false],
];

/** The annotation of `podRequests` that names a MAC. */
const HW_ADDR = 'cni.projectcalico.org/hwAddr';

/**
 * Throws CONFIG_INVALID naming the field, and CniError 2 for what needs the node to see the pod's packets.
 */
export function readPhysicalConf(call: Invocation, context: CniContext): PhysicalConf {
  const { conf } = call;
  const { physical } = context;
  if (!physical)
    throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', context.notReady() ?? '');
  const { wiring, mode } = physical.config;
  rejectUnsupported(conf);
  const why = `this network uses ${wiring} wiring`;
  for (const [key, neutral] of NEUTRAL) {
    if ((conf.boolean(key) ?? neutral) !== neutral) throw unsupported(key, !neutral, why);
  }
  const mtu = conf.integer('mtu', 0, 65535);
  if (mtu && mtu !== context.mtu) throw unsupported('mtu', mtu, 'the agent determines the MTU of pods');
  const elsewhere = `${why}: its packets do not pass the node`;
  const ports = readHostPorts(conf);
  if (ports.length > 0) throw unsupported('runtimeConfig.portMappings', ports, elsewhere);
  const bandwidth = readBandwidth(conf);
  if (bandwidth) throw unsupported('runtimeConfig.bandwidth', bandwidth, elsewhere);
  const { ips, mac: annotated, pools } = podRequests(conf);
  if (pools.length > 0) throw unsupported('pools', pools, 'this network has no pools');
  const mac = readMac(call) ?? (annotated && { mac: annotated, field: HW_ADDR });
  if (mac && (wiring === 'ipvlan' || mode === 'passthru')) {
    throw unsupported(mac.field, mac.mac, 'pods have the MAC of the node’s interface');
  }
  const requested = [...new Set([...ips, ...requestedIps(conf.source, call.argsText)])];
  return {
    physical,
    mac,
    addresses: sourceOf(call, requested, physical, context),
    dns: decodeDns(conf.object('dns')),
  };
}

/** This node's ranges: what is on-link is the whole network, and its gateway is not this node. */
function sourceOf(
  call: Invocation,
  requested: readonly Ip[],
  { networks, config, hasDhcp }: PhysicalNetwork,
  context: CniContext,
): AddressSource {
  if (hasDhcp && requested.length > 0)
    throw unsupported('ips', requested, 'the DHCP server chooses addresses');
  if (hasDhcp) return dhcp(config.gateways);
  const source = hostLocal({ ...readIpamConf(call, context), requested });
  return {
    heldBy: source.heldBy,
    async take(of, state) {
      const taken = await source.take(of, state);
      const ips = taken.ips.map(({ address }) => {
        const family: Family = familyOf(address);
        const network = networks[family];
        const gateway = config.gateways[family];
        return {
          address: network ? prefixed(addressOf(address), lengthOf(network)) : address,
          ...(gateway !== undefined && { gateway }),
        };
      });
      return { ...taken, ips, routes: decodeRoutes(call.conf.object('ipam')) };
    },
  };
}
