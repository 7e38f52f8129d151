import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_IPTUN_PROTO = 9;
const IFLA_IPTUN_COLLECT_METADATA = 19;
const IPPROTO_IPV6 = 41;

/**
 * IPv6 in IPv6 (RFC 2473): like `type ip6tnl mode ip6ip6 external`. Only devices whose tunnel parameters come
 * with each packet are made; a namespace can have one (EEXIST). The module also creates `ip6tnl0`.
 */
export type Ip6tnl = { readonly kind: 'ip6tnl'; readonly collectMetadata: boolean };

export const ip6tnl: LinkKind<Ip6tnl> = {
  kind: 'ip6tnl',
  write: (writer: Writer, { collectMetadata }) => {
    writer.u8(IFLA_IPTUN_PROTO, IPPROTO_IPV6).flag(IFLA_IPTUN_COLLECT_METADATA, collectMetadata);
  },
  read: (attributes: Attributes) => ({
    kind: 'ip6tnl',
    collectMetadata: attributes.has(IFLA_IPTUN_COLLECT_METADATA),
  }),
};
