import type { Attributes, Writer } from '../netlink/message.ts';
import { type Bridge, readBridge, writeBridge } from './bridge.ts';
import { type Ipip, readIpip, writeIpip } from './ipip.ts';
import { type Veth, writeVeth } from './veth.ts';
import { readVxlan, type Vxlan, writeVxlan } from './vxlan.ts';

/** What an interface is. To add a kind: a file with its type and codec, and its name in this type; the compiler asks for the rest. */
export type LinkData = Veth | Bridge | Vxlan | Ipip | { readonly kind: 'dummy' | 'ifb' };

/** Writes the content of IFLA_INFO_DATA; nothing where a kind has none. */
export function writeLinkData(writer: Writer, data: LinkData): void {
  if (data.kind === 'veth') writeVeth(writer, data);
  else if (data.kind === 'bridge') writeBridge(writer, data);
  else if (data.kind === 'vxlan') writeVxlan(writer, data);
  else if (data.kind === 'ipip') writeIpip(writer, data);
  else data.kind satisfies 'dummy' | 'ifb';
}

const READERS: Readonly<Record<LinkData['kind'], (attributes: Attributes) => LinkData>> = {
  veth: () => ({ kind: 'veth' }),
  bridge: readBridge,
  vxlan: readVxlan,
  ipip: readIpip,
  dummy: () => ({ kind: 'dummy' }),
  ifb: () => ({ kind: 'ifb' }),
};

/** Undefined for a kind that is not known here. */
export function readLinkData(kind: string | undefined, attributes: Attributes): LinkData | undefined {
  return kind !== undefined && isKnown(kind) ? READERS[kind](attributes) : undefined;
}

function isKnown(kind: string): kind is LinkData['kind'] {
  return Object.hasOwn(READERS, kind);
}
