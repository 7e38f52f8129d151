import { bridge } from './bridge.ts';
import { ipip } from './ipip.ts';
import type { LinkType } from './link-type.ts';
import { vxlan } from './vxlan.ts';

/** Every type of device we make. */
const LINK_TYPES = [bridge, vxlan, ipip] as const;

/** What makes a device what it is. */
export type MadeLink = LinkOf<(typeof LINK_TYPES)[number]>;
type LinkOf<T extends { text(link: never): string }> = T extends unknown ? Parameters<T['text']>[0] : never;

const byName = new Map<string, LinkType<MadeLink>>(LINK_TYPES.map((type) => [type.type, type]));

/** Undefined for a type that we do not make. */
export function findLinkType(type: string): LinkType<MadeLink> | undefined {
  return byName.get(type);
}

/** The type of a device that we make. */
export function linkTypeOf({ type }: MadeLink): LinkType<MadeLink> {
  const found = byName.get(type);
  if (!found) throw new TypeError(`no type of link is called ${type}`);
  return found;
}
