import type { Ip } from '../../../ip/address.ts';
import type { Mac } from '../../../ip/mac.ts';
import { requestedIps } from '../../../ipam/requested-ips.ts';
import type { CniContext } from '../../context.ts';
import { podWishes } from '../../protocol/annotations.ts';
import { type IpamConf, isOurs, readIpamConf, readMac, refuseUnsupported } from '../../protocol/conf.ts';
import { unsupported } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import { type Dns, decodeDns } from '../../protocol/result.ts';

/** A configuration of ours, on a node that wires pods `routed`. */
export type RoutedConf = {
  readonly mac: Mac | undefined;
  readonly requested: readonly Ip[];
  /** Of the blocks plan: by name or CIDR; empty: any. */
  readonly pools: readonly string[];
  /** Where the node has subnets; under the blocks plan undefined. */
  readonly ipam: IpamConf | undefined;
  readonly dns: Dns;
};

/** Keys of a bridge that would ask for another network than this, with the value that does not. */
const NEUTRAL: readonly (readonly [key: string, value: boolean])[] = [
  ['isGateway', true],
  ['isDefaultGateway', true],
  ['promiscMode', false],
];

/** Whether the pod is to be wired so: the configuration names no bridge and no ranges of its own. */
export function isRouted(call: Invocation, context: CniContext): boolean {
  return context.wiring === 'routed' && isOurs(call.conf);
}

export function readRoutedConf(call: Invocation, context: CniContext): RoutedConf {
  const { conf } = call;
  refuseUnsupported(conf);
  for (const [key, neutral] of NEUTRAL) {
    if ((conf.boolean(key) ?? neutral) !== neutral) throw unsupported(key, !neutral, 'pods are routed here');
  }
  const mtu = conf.integer('mtu', 0, 65535);
  if (mtu && mtu !== context.mtu) throw unsupported('mtu', mtu, 'the agent finds the MTU of pods');
  const wishes = podWishes(conf);
  if (wishes.pools.length > 0 && !context.assigner) {
    throw unsupported('pools', wishes.pools, 'this cluster gives each node a subnet, and has no pools');
  }
  const requested = [...new Set([...wishes.ips, ...requestedIps(conf.source, call.argsText)])];
  return {
    mac: readMac(call) ?? wishes.mac,
    requested,
    pools: wishes.pools,
    ipam: context.assigner ? undefined : { ...readIpamConf(call, context), requested },
    dns: decodeDns(conf.object('dns')),
  };
}
