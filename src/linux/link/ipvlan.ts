import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_IPVLAN_MODE = 1;

/** enum ipvlan_mode of linux/if_link.h. */
const MODES = ['l2', 'l3', 'l3s'] as const;
export type IpvlanMode = (typeof MODES)[number];

/**
 * An interface that shares another one's MAC, told apart by its addresses: like `link DEV type ipvlan mode
 * MODE`.
 */
export type Ipvlan = {
  readonly kind: 'ipvlan';
  /** Of all that share the parent. */
  readonly mode?: IpvlanMode | undefined;
  /** Index of the parent, for creation. As read, undefined where it is in another namespace. */
  readonly parent?: number | undefined;
};

export const ipvlan: LinkKind<Ipvlan> = {
  kind: 'ipvlan',
  write: (writer: Writer, { mode }) => {
    writer.u16(IFLA_IPVLAN_MODE, mode && MODES.indexOf(mode));
  },
  read: (attributes: Attributes, parent) => {
    const number = attributes.get(IFLA_IPVLAN_MODE)?.readUInt16LE();
    return { kind: 'ipvlan', mode: number === undefined ? undefined : MODES[number], parent };
  },
};
