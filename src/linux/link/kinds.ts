import type { Attributes, Writer } from '../netlink/message.ts';
import { bridge } from './bridge.ts';
import { ipip } from './ipip.ts';
import type { LinkKind } from './kind.ts';
import { veth } from './veth.ts';
import { vxlan } from './vxlan.ts';

const dummy = plain('dummy');
const ifb = plain('ifb');

/** All supported kinds of interface. */
const KINDS = [veth, bridge, vxlan, ipip, dummy, ifb] as const;

/** An interface's kind and its data. */
export type LinkData = ReturnType<(typeof KINDS)[number]['read']>;

const byName = new Map<string, LinkKind<LinkData>>(KINDS.map((kind) => [kind.kind, kind]));

/** Writes the content of IFLA_INFO_DATA; nothing for a kind without data. */
export function writeLinkData(writer: Writer, data: LinkData): void {
  byName.get(data.kind)?.write(writer, data);
}

/** Reads the content of IFLA_INFO_DATA; undefined for an unknown kind. */
export function readLinkData(kind: string | undefined, attributes: Attributes): LinkData | undefined {
  return kind === undefined ? undefined : byName.get(kind)?.read(attributes);
}

/** A kind without data. */
function plain<Kind extends string>(kind: Kind): LinkKind<{ readonly kind: Kind }> {
  return { kind, write: () => {}, read: () => ({ kind }) };
}
