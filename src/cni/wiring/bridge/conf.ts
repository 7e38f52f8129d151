import { hasIpam, type IpamConf, readIpamConf } from '../../addresses/conf.ts';
import type { CniContext } from '../../context.ts';
import { isOurs, type RequestedMac, readMac, rejectUnsupported } from '../../protocol/conf.ts';
import { CniError, CODE } from '../../protocol/error.ts';
import type { Invocation } from '../../protocol/invocation.ts';
import { type Dns, decodeDns } from '../../protocol/result.ts';

/** Configuration of a bridge port: from the agent's own conflist, or written for the reference `bridge`. */
export type BridgeConf = {
  readonly bridge: string;
  /** The agent maintains the bridge: ADD creates and changes nothing on it. */
  readonly ownBridge: boolean;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly hairpin: boolean;
  readonly promisc: boolean;
  /** Bytes; undefined leaves the kernel's default. */
  readonly mtu: number | undefined;
  readonly mac: RequestedMac | undefined;
  /** Undefined: an interface without addresses. */
  readonly ipam: IpamConf | undefined;
  readonly dns: Dns;
};

export function readBridgeConf(call: Invocation, context: CniContext): BridgeConf {
  const { conf } = call;
  rejectUnsupported(conf);
  const ours = isOurs(conf);
  const isDefaultGateway = conf.boolean('isDefaultGateway') ?? ours;
  const result: BridgeConf = {
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
