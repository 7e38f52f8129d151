import type { Attributes, Writer } from '../netlink/message.ts';
import { bridge } from './bridge.ts';
import { geneve } from './geneve.ts';
import { gretap, ip6gretap } from './gre.ts';
import { ip6tnl } from './ip6tnl.ts';
import { ipip } from './ipip.ts';
import { ipvlan } from './ipvlan.ts';
import type { LinkKind } from './kind.ts';
import { macvlan } from './macvlan.ts';
import { veth } from './veth.ts';
import { vxlan } from './vxlan.ts';

const dummy = plain('dummy');
const ifb = plain('ifb');
const tun = plain('tun');

/** All supported kinds of interface. */
const KINDS = [
  veth,
  bridge,
  vxlan,
  geneve,
  gretap,
  ip6gretap,
  ipip,
  ip6tnl,
  macvlan,
  ipvlan,
  tun,
  dummy,
  ifb,
] as const;

/** An interface's kind and its data. */
export type LinkData = ReturnType<(typeof KINDS)[number]['read']>;

const byName = new Map<string, LinkKind<LinkData>>(KINDS.map((kind) => [kind.kind, kind]));

/** Writes the content of IFLA_INFO_DATA; nothing for a kind without data. */
export function writeLinkData(writer: Writer, data: LinkData): void {
  byName.get(data.kind)?.write(writer, data);
}

/**
 * Reads the content of IFLA_INFO_DATA; undefined for an unknown kind. `parent`: IFLA_LINK, of this namespace.
 */
export function readLinkData(
  kind: string | undefined,
  attributes: Attributes,
  parent?: number,
): LinkData | undefined {
  return kind === undefined ? undefined : byName.get(kind)?.read(attributes, parent);
}

/** What a device is created on, where that is not among its kind's own data (IFLA_LINK). */
export function parentOf(data: LinkData | undefined): number | undefined {
  return data && 'parent' in data ? data.parent : undefined;
}

/** A kind without data. */
function plain<Kind extends string>(kind: Kind): LinkKind<{ readonly kind: Kind }> {
  return { kind, write: () => {}, read: () => ({ kind }) };
}
