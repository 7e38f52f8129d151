import type { Fields } from '../../cluster/fields.ts';
import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { type RangeSet, rangeOf, readRangeSets } from '../../ipam/ranges.ts';
import { requestedIps } from '../../ipam/requested-ips.ts';
import type { CniContext } from '../context.ts';
import { TYPE } from '../protocol/conf.ts';
import { CniError, CODE, unsupported } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { decodeRoutes, type RouteConfig } from '../protocol/result.ts';

/** An `ipam` configuration. */
export type IpamConf = {
  /** host-local's directory for this network. */
  readonly dir: string;
  /** Whether the configuration names ranges; otherwise they are this node's subnets. */
  readonly named: boolean;
  readonly sets: readonly RangeSet[];
  readonly requested: readonly Ip[];
  readonly routes: readonly RouteConfig[];
  readonly resolvConf: string | undefined;
};

/**
 * Reads the `ipam` section. If it names no ranges, uses this node's subnets and a route to each of the
 * cluster's networks. Throws CniError 2 for another IPAM plugin's configuration, 7 if there is no range.
 */
export function readIpamConf(call: Invocation, context: CniContext): IpamConf {
  const { conf } = call;
  const ipam = conf.object('ipam');
  const type = ipam?.string('type') ?? TYPE;
  if (type !== TYPE && type !== 'host-local') {
    throw unsupported('ipam.type', type, `write "${TYPE}" or "host-local"`);
  }
  const named = readRangeSets(conf.source);
  if (type === 'host-local' && named.length === 0) {
    throw new CniError(CODE.INVALID_CONFIG, 'no IP ranges specified');
  }
  const routes = decodeRoutes(ipam);
  return {
    dir: reservationsDir(call, context),
    named: named.length > 0,
    sets: named.length ? named : subnetSets(context),
    requested: requestedIps(conf.source, call.argsText),
    routes: named.length ? routes : [...routes, ...context.networks.map((dst) => ({ dst }))],
    resolvConf: ipam?.string('resolvConf'),
  };
}

/** host-local's directory for the network, even if the rest of the configuration is invalid. */
export function reservationsDir(call: Invocation, context: CniContext): string {
  const ipam = call.conf.raw('ipam');
  const isObject = typeof ipam === 'object' && !Array.isArray(ipam);
  const dataDir = isObject ? call.conf.object('ipam')?.raw('dataDir') : undefined;
  return `${typeof dataDir === 'string' && dataDir ? dataDir : context.dataDir}/${call.network}`;
}

export function hasIpam(conf: Fields): boolean {
  return Boolean(conf.object('ipam')?.string('type'));
}

function subnetSets(context: CniContext): RangeSet[] {
  return FAMILIES.flatMap((family) => {
    const [first, ...more] = context.subnets.filter((subnet) => familyOf(subnet) === family);
    return first ? [[rangeOf(first), ...more.map((subnet) => rangeOf(subnet))] as const] : [];
  });
}
