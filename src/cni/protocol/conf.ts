import type { Fields } from '../../cluster/fields.ts';
import { FAMILIES, familyOf, type Ip } from '../../ip/address.ts';
import { type Mac, parseMac } from '../../ip/mac.ts';
import { type RangeSet, rangeOf, readRangeSets } from '../../ipam/ranges.ts';
import { requestedIps } from '../../ipam/requested-ips.ts';
import type { CniContext } from '../context.ts';
import { CniError, CODE, unsupported } from './error.ts';
import type { Invocation } from './invocation.ts';
import { type Dns, decodeDns, decodeRoutes, type RouteConfig } from './result.ts';

/** The name our executable has in configurations. */
export const TYPE = 'flatnet';

/**
 * What one executable is called for: `lo` of a pod, an interface of its own, or addresses for another plugin that names
 * us in `ipam.type`.
 */
export type Role = 'loopback' | 'interface' | 'ipam';

export function roleOf(conf: Fields): Role {
  const type = conf.string('type') ?? TYPE;
  if (type === 'loopback') return 'loopback';
  return type !== TYPE && conf.object('ipam')?.string('type') === TYPE ? 'ipam' : 'interface';
}

/** A configuration for an interface: that of the agent's own conflist, or one written for the reference `bridge`. */
export type InterfaceConf = {
  readonly bridge: string;
  /** The agent keeps the bridge: nothing is to be made or changed on it. */
  readonly ownBridge: boolean;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly hairpin: boolean;
  readonly promisc: boolean;
  /** Bytes; undefined leaves the kernel's default. */
  readonly mtu: number | undefined;
  readonly mac: Mac | undefined;
  /** Undefined: an interface without addresses. */
  readonly ipam: IpamConf | undefined;
  readonly dns: Dns;
};

export type IpamConf = {
  /** host-local's folder of this network. */
  readonly dir: string;
  /** Whether the configuration names them; else they are this node's subnets. */
  readonly named: boolean;
  readonly sets: readonly RangeSet[];
  readonly requested: readonly Ip[];
  readonly routes: readonly RouteConfig[];
  readonly resolvConf: string | undefined;
};

/** Keys of newer reference plugins that change what the kernel holds, with the value that asks for nothing. */
const UNSUPPORTED: readonly (readonly [key: string, neutral: unknown])[] = [
  ['vlan', 0],
  ['preserveDefaultVlan', true],
  ['macspoofchk', false],
  ['enabledad', false],
  ['disableContainerInterface', false],
  ['portIsolation', false],
];
const UNSUPPORTED_CAPABILITIES = ['portMappings', 'bandwidth', 'infinibandGUID', 'deviceID'];

export function readInterfaceConf(call: Invocation, context: CniContext): InterfaceConf {
  const { conf } = call;
  refuseUnsupported(conf);
  const ours = isOurs(conf);
  const isDefaultGateway = conf.boolean('isDefaultGateway') ?? ours;
  const result: InterfaceConf = {
    bridge: conf.string('bridge') || (ours ? context.bridge : 'cni0'),
    ownBridge: ours,
    isGateway: isDefaultGateway || (conf.boolean('isGateway') ?? false),
    isDefaultGateway,
    forceAddress: conf.boolean('forceAddress') ?? false,
    hairpin: conf.boolean('hairpinMode') ?? ours,
    promisc: conf.boolean('promiscMode') ?? false,
    mtu: conf.integer('mtu', 0, 65535) || (ours ? context.mtu : undefined),
    mac: readMac(call),
    ipam: hasIpam(conf) || ours ? readIpamConf(call, context) : undefined,
    dns: decodeDns(conf.object('dns')),
  };
  if (result.hairpin && result.promisc) {
    throw new CniError(CODE.INVALID_CONFIG, 'cannot set hairpin mode and promiscuous mode at the same time.');
  }
  return result;
}

/** The `ipam` part. Without ranges of its own it takes this node's subnets, and a route to each of the cluster's networks. */
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

/** host-local's folder for the network, also where the rest of the configuration is in disorder. */
export function reservationsDir(call: Invocation, context: CniContext): string {
  const ipam = call.conf.raw('ipam');
  const isObject = typeof ipam === 'object' && !Array.isArray(ipam);
  const dataDir = isObject ? call.conf.object('ipam')?.raw('dataDir') : undefined;
  return `${typeof dataDir === 'string' && dataDir ? dataDir : context.dataDir}/${call.network}`;
}

function subnetSets(context: CniContext): RangeSet[] {
  return FAMILIES.flatMap((family) => {
    const [first, ...more] = context.subnets.filter((subnet) => familyOf(subnet) === family);
    return first ? [[rangeOf(first), ...more.map((subnet) => rangeOf(subnet))] as const] : [];
  });
}

/** Whether the agent decides how and with which addresses: the configuration names neither bridge nor ranges. */
export function isOurs(conf: Fields): boolean {
  return !conf.has('bridge') && !namesRanges(conf);
}

function namesRanges(conf: Fields): boolean {
  const ipam = conf.object('ipam');
  return (ipam?.string('type') ?? TYPE) !== TYPE || readRangeSets(conf.source).length > 0;
}

function hasIpam(conf: Fields): boolean {
  return Boolean(conf.object('ipam')?.string('type'));
}

export function refuseUnsupported(conf: Fields): void {
  const backend = conf.raw('ipMasqBackend');
  if (conf.boolean('ipMasq') && backend !== undefined && backend !== 'nftables') {
    throw unsupported('ipMasqBackend', backend, 'the agent masquerades with nftables');
  }
  for (const [key, neutral] of UNSUPPORTED) {
    const value = conf.raw(key);
    if (value !== undefined && value !== neutral) throw unsupported(key, value);
  }
  if (conf.list('vlanTrunk')?.length) throw unsupported('vlanTrunk', conf.raw('vlanTrunk'));
  const runtime = conf.object('runtimeConfig');
  for (const key of UNSUPPORTED_CAPABILITIES) {
    const value = runtime?.raw(key);
    const empty = value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
    if (!empty) throw unsupported(`runtimeConfig.${key}`, value, 'chain the plugin that does this after us');
  }
}

/** The last of these wins, as in the reference plugin: `args.cni.mac`, CNI_ARGS `MAC=`, the `mac` capability. */
export function readMac(call: Invocation): Mac | undefined {
  const cni = call.conf.object('args')?.object('cni');
  const fromArgs = call.args.get('MAC');
  return (
    call.conf.object('runtimeConfig')?.parsed('mac', parseMac) ??
    (fromArgs ? parseMac(fromArgs) : undefined) ??
    cni?.parsed('mac', parseMac)
  );
}
