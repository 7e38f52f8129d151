import type { Attributes, Writer } from '../netlink/message.ts';
import type { LinkKind } from './kind.ts';

const IFLA_MACVLAN_MODE = 1;

/** enum macvlan_mode of linux/if_link.h. */
const MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;
export type MacvlanMode = keyof typeof MODES;

/** An interface with a MAC of its own on another one's network: like `link DEV type macvlan mode MODE`. */
export type Macvlan = {
  readonly kind: 'macvlan';
  readonly mode?: MacvlanMode | undefined;
  /** Index of the parent, for creation. As read, undefined where it is in another namespace. */
  readonly parent?: number | undefined;
};

export const macvlan: LinkKind<Macvlan> = {
  kind: 'macvlan',
  write: (writer: Writer, { mode }) => {
    writer.u32(IFLA_MACVLAN_MODE, mode && MODES[mode]);
  },
  read: (attributes: Attributes, parent) => {
    const number = attributes.get(IFLA_MACVLAN_MODE)?.readUInt32LE();
    return { kind: 'macvlan', mode: modeOf(number), parent };
  },
};

function modeOf(number: number | undefined): MacvlanMode | undefined {
  return (Object.keys(MODES) as MacvlanMode[]).find((mode) => MODES[mode] === number);
}
