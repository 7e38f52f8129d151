import type { Family } from '../../../ip/address.ts';
import type { Mac } from '../../../ip/mac.ts';
import type { BridgePort } from '../../../linux/link/bridge.ts';
import type { Link } from '../../../linux/link/link.ts';
import { type CreatedLink, linkTypeOf, typeDescribedBy } from '../../link-types/registry.ts';
import type { NameOf } from '../../protocols/rtnetlink.ts';

/** A device and its settings. Properties that are `undefined` keep the kernel's values. */
export type LinkItem = {
  readonly kind: 'link';
  readonly name: string;
  readonly link: CreatedLink | ExistingLink;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: Mac;
  /**
   * Marks a link as created by us: begins with `flatnet`. Such a link is removed when it is no longer
   * desired.
   */
  readonly alias?: string;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** Bridge ports only. */
  readonly port?: BridgePort;
  /** As read: the name that someone has given it instead. */
  readonly renamed?: string;
  /**
   * Owner of its neighbour and FDB entries. `ours`: undesired entries are removed (tunnel devices). `kernel`:
   * they are left alone (a bridge, where the kernel learns).
   */
  readonly entries: 'ours' | 'kernel';
};

/** A link whose settings we maintain, but that we never create or delete (a pod's veth, the underlay). */
export type ExistingLink = { readonly type: 'existing' };

/** Converts a device to an item: `existing` if it is of a type we never create. */
export function linkItem(value: Link, nameOf: NameOf): LinkItem {
  const { name, data, up, mtu, mac, alias, port } = value;
  const master = value.master === undefined ? undefined : nameOf(value.master);
  return {
    kind: 'link',
    name,
    link: (data && typeDescribedBy(data)?.read(data, nameOf)) ?? { type: 'existing' },
    up,
    mtu,
    ...(mac !== undefined && { mac }),
    ...(alias !== undefined && { alias }),
    ...(master !== undefined && { master }),
    ...(port !== undefined && { port }),
    entries: 'kernel',
  };
}

/** Whether we create the device, rather than only maintain its settings. */
export function isCreated(item: LinkItem | undefined): boolean {
  return item !== undefined && item.link.type !== 'existing';
}

/** Whether the type's module creates the device, which therefore can't be deleted. */
export function isBuiltIn({ link }: LinkItem): boolean {
  return link.type !== 'existing' && (linkTypeOf(link).isBuiltIn?.(link) ?? false);
}

/** Whether a program of ours makes the device, which rtnetlink therefore can't create. */
export function isMadeByProgram({ link }: LinkItem): boolean {
  return link.type !== 'existing' && linkTypeOf(link).isMadeByProgram === true;
}

/** The device that this one sends through, if any. */
export function lowerOf({ link }: LinkItem): string | undefined {
  return link.type === 'existing' ? undefined : linkTypeOf(link).lower?.(link);
}

/** Whether user space resolves the device's unknown neighbours and FDB entries. */
export function isOnDemand({ link }: LinkItem): boolean {
  return link.type !== 'existing' && (linkTypeOf(link).isOnDemand?.(link) ?? false);
}

/** The families of packets that a tunnel carries to other nodes; none for a device that is not a tunnel. */
export function carriedFamilies({ link }: LinkItem): readonly Family[] {
  return link.type === 'existing' ? [] : linkTypeOf(link).carries(link);
}
