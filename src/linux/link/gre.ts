import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_GRE_COLLECT_METADATA = 18;

/**
 * Ethernet in GRE (RFC 2784), over IPv4 (`gretap`) or IPv6 (`ip6gretap`): like `type gretap external`. Only
 * devices whose tunnel parameters come with each packet are made; a namespace can have one of each kind
 * (EEXIST). Their modules also create `gretap0`, `gre0`, `erspan0` and the like, which do nothing.
 */
export type Gre<Kind extends 'gretap' | 'ip6gretap' = 'gretap' | 'ip6gretap'> = {
  readonly kind: Kind;
  readonly collectMetadata: boolean;
};

export const gretap = greOf('gretap');
export const ip6gretap = greOf('ip6gretap');

function greOf<Kind extends 'gretap' | 'ip6gretap'>(kind: Kind): LinkKind<Gre<Kind>> {
  return {
    kind,
    write: (writer: Writer, { collectMetadata }) => {
      writer.flag(IFLA_GRE_COLLECT_METADATA, collectMetadata);
    },
    read: (attributes: Attributes) => ({ kind, collectMetadata: attributes.has(IFLA_GRE_COLLECT_METADATA) }),
  };
}
