import type { LinkData } from '../../linux/link/kinds.ts';
import { bridge } from './bridge.ts';
import { geneveExternal, gretapExternal, ip6gretapExternal, vxlanExternal } from './external.ts';
import { ifb } from './ifb.ts';
import { ip6tnl } from './ip6tnl.ts';
import { ipip } from './ipip.ts';
import type { LinkType } from './link-type.ts';
import { ipvlan, macvlan } from './shared-parent.ts';
import { tun } from './tun.ts';
import { vxlan } from './vxlan.ts';

/** All types of device that we create. */
const LINK_TYPES = [
  bridge,
  vxlan,
  vxlanExternal,
  geneveExternal,
  gretapExternal,
  ip6gretapExternal,
  ipip,
  ip6tnl,
  macvlan,
  ipvlan,
  tun,
  ifb,
] as const;

/** The type of a device and its properties. */
export type CreatedLink = LinkOf<(typeof LINK_TYPES)[number]>;
type LinkOf<T extends { text(link: never): string }> = T extends unknown ? Parameters<T['text']>[0] : never;

const byName = new Map<string, LinkType<CreatedLink>>(LINK_TYPES.map((type) => [type.type, type]));

/** Undefined for a type that we never create. */
export function findLinkType(type: string): LinkType<CreatedLink> | undefined {
  return byName.get(type);
}

/** The type that a device, as rtnetlink describes it, would have been created as; undefined for none. */
export function typeDescribedBy(data: LinkData): LinkType<CreatedLink> | undefined {
  return [...byName.values()].find(({ type, describes }) => describes?.(data) ?? type === data.kind);
}

/** The type of a device that we create. */
export function linkTypeOf({ type }: CreatedLink): LinkType<CreatedLink> {
  const found = byName.get(type);
  if (!found) throw new TypeError(`unknown link type: ${type}`);
  return found;
}
