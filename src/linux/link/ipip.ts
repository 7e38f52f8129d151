import { type Ip, ipToBytes } from '../../ip/address.ts';
import type { Attributes, Writer } from '../netlink/message.ts';
import { endpointOf, type LinkKind } from './kind.ts';

const IFLA_IPTUN_LINK = 1;
const IFLA_IPTUN_LOCAL = 2;
const IFLA_IPTUN_REMOTE = 3;
const IFLA_IPTUN_TTL = 4;
const IFLA_IPTUN_PMTUDISC = 10;

/**
 * IPv4 in IPv4 (RFC 2003): like `type ipip local IP remote IP dev DEV ttl TTL pmtudisc`. Creating one loads
 * the kernel module, if available (otherwise EOPNOTSUPP). The module creates `tunl0`, in every network
 * namespace unless net.core.fb_tunnels_only_for_init_net forbids it. That device receives packets that match
 * no other tunnel; its settings can't be changed (EINVAL), and it can't be deleted (no error), renamed or
 * moved. Creating a `tunl0` without endpoints fails with EEXIST, but leaves it in place.
 */
export type Ipip = {
  readonly kind: 'ipip';
  /** Source of the tunnel packets. Default: the source address of the route to the remote end. */
  readonly local?: Ip | undefined;
  /** The remote end. Default: the gateway of the route through this device, which must be `onlink`. */
  readonly remote?: Ip | undefined;
  /** Interface index of the underlay. */
  readonly dev?: number | undefined;
  /**
   * TTL of the outer header; 0, the kernel's default, copies the inner one. Other values require `pmtudisc`.
   */
  readonly ttl?: number | undefined;
  /** Never fragment on the path. Default in the kernel: yes; `tunl0` follows the inner packet. */
  readonly pmtudisc?: boolean | undefined;
};

export const ipip: LinkKind<Ipip> = { kind: 'ipip', write, read };

function write(writer: Writer, { local, remote, dev, ttl, pmtudisc }: Ipip): void {
  writer
    .u32(IFLA_IPTUN_LINK, dev)
    .bytes(IFLA_IPTUN_LOCAL, local && ipToBytes(local))
    .bytes(IFLA_IPTUN_REMOTE, remote && ipToBytes(remote))
    .u8(IFLA_IPTUN_TTL, ttl)
    .bool(IFLA_IPTUN_PMTUDISC, pmtudisc);
}

function read(attributes: Attributes): Ipip {
  return {
    kind: 'ipip',
    local: endpointOf(attributes, IFLA_IPTUN_LOCAL),
    remote: endpointOf(attributes, IFLA_IPTUN_REMOTE),
    dev: attributes.get(IFLA_IPTUN_LINK)?.readUInt32LE() || undefined,
    ttl: attributes.get(IFLA_IPTUN_TTL)?.readUInt8(),
    pmtudisc: (attributes.get(IFLA_IPTUN_PMTUDISC)?.readUInt8() ?? 0) !== 0,
  };
}
