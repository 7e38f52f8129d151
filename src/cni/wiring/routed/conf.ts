import type { Ip } from '../../../ip/address.ts';
import { requestedIps } from '../../../ipam/requested-ips.ts';
import { blocks } from '../../addresses/blocks.ts';
import { readIpamConf } from '../../addresses/conf.ts';
import { hostLocal } from '../../addresses/host-local.ts';
import type { AddressSource } from '../../addresses/source.ts';
import type { CniContext } from '../../context.ts';
import { type RequestedMac, readMac, rejectUnsupported } from '../../protocol/conf.ts';
import { unsupported } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import { podRequests } from '../../protocol/pod.ts';
import { type Dns, decodeDns } from '../../protocol/result.ts';

/** Our own configuration on a node with `routed` wiring. */
export type RoutedConf = {
  readonly mac: RequestedMac | undefined;
  readonly addresses: AddressSource;
  readonly dns: Dns;
};

/** The annotation of `podRequests` that names a MAC. */
const HW_ADDR = 'cni.projectcalico.org/hwAddr';

/** Keys of bridge configurations that conflict with this wiring, with the value that does not. */
const NEUTRAL: readonly (readonly [key: string, value: boolean])[] = [
  ['isGateway', true],
  ['isDefaultGateway', true],
  ['promiscMode', false],
];

export function readRoutedConf(call: Invocation, context: CniContext): RoutedConf {
  const { conf } = call;
  rejectUnsupported(conf);
  for (const [key, neutral] of NEUTRAL) {
    if ((conf.boolean(key) ?? neutral) !== neutral)
      throw unsupported(key, !neutral, 'this network uses routed wiring');
  }
  const mtu = conf.integer('mtu', 0, 65535);
  if (mtu && mtu !== context.mtu) throw unsupported('mtu', mtu, 'the agent determines the MTU of pods');
  const { ips, mac, pools } = podRequests(conf);
  const requested = [...new Set([...ips, ...requestedIps(conf.source, call.argsText)])];
  return {
    mac: readMac(call) ?? (mac && { mac, field: HW_ADDR }),
    addresses: sourceOf(call, requested, pools, context),
    dns: decodeDns(conf.object('dns')),
  };
}

function sourceOf(
  call: Invocation,
  requested: readonly Ip[],
  pools: readonly string[],
  context: CniContext,
): AddressSource {
  const { assigner } = context;
  if (assigner) return blocks(assigner, { requested, pools, routes: [] });
  if (pools.length > 0) {
    throw unsupported('pools', pools, 'this cluster assigns each node a subnet and has no pools');
  }
  return hostLocal({ ...readIpamConf(call, context), requested });
}
