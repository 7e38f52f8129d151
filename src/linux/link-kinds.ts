import { type Bridge, readBridge, writeBridge } from './link-bridge.ts';
import { type Ipip, readIpip, writeIpip } from './link-ipip.ts';
import { type Veth, writeVeth } from './link-veth.ts';
import { readVxlan, type Vxlan, writeVxlan } from './link-vxlan.ts';
import type { Attributes, Writer } from './netlink/message.ts';

/** What an interface is. To add a kind: a file with its type and codec, and a line in each place here. */
export type LinkData = Veth | Bridge | Vxlan | Ipip | { readonly kind: 'dummy' | 'ifb' };

/** Writes the content of IFLA_INFO_DATA; nothing where a kind has none. */
export function writeLinkData(writer: Writer, data: LinkData): void {
  if (data.kind === 'veth') writeVeth(writer, data);
  else if (data.kind === 'bridge') writeBridge(writer, data);
  else if (data.kind === 'vxlan') writeVxlan(writer, data);
  else if (data.kind === 'ipip') writeIpip(writer, data);
}

/** Undefined for a kind that is not known here. */
export function readLinkData(kind: string | undefined, attributes: Attributes): LinkData | undefined {
  switch (kind) {
    case 'bridge':
      return readBridge(attributes);
    case 'vxlan':
      return readVxlan(attributes);
    case 'ipip':
      return readIpip(attributes);
    case 'veth':
    case 'dummy':
    case 'ifb':
      return { kind };
    default:
      return undefined;
  }
}
