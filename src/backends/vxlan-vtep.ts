import type { Node } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import { isUnicast, type Mac, parseMac } from '../ip/mac.ts';
import type { Item } from '../state/item.ts';
import type { PeerItems } from './backend.ts';

/** Bytes of an interface's name in the kernel, including the terminating zero. */
const IFNAMSIZ = 16;

/** `flannel.1` or `flannel-v6.1`; `fl.10000000` or `fl-v6.10000` for VNIs that make the name too long. */
export function vxlanDevice(vni: number, family: Family): string {
  const suffix = `${family === 4 ? '' : '-v6'}.${vni}`;
  return `flannel${suffix}`.length < IFNAMSIZ ? `flannel${suffix}` : `fl${suffix}`;
}

/**
 * The MAC a peer published; undefined when its data is not flannel's, or it is not one node's: a group's, or
 * zero, at which VXLAN sends what it has no entry for.
 */
export function vtepMacOf(peer: Node, family: Family): Mac | undefined {
  const mac = publishedField(peer.backend.data[family], 'VtepMAC');
  try {
    const parsed = typeof mac === 'string' ? parseMac(mac) : undefined;
    return parsed !== undefined && isUnicast(parsed) ? parsed : undefined;
  } catch {
    return undefined; // the caller warns that the peer published no usable MAC
  }
}

/**
 * Builds a peer's items from its MAC; a warning instead if it published none, or another `id` under the name
 * `field`.
 */
export function toVtep(
  peer: Node,
  family: Family,
  { field, id }: { readonly field: string; readonly id: number },
  items: (mac: Mac) => readonly Item[],
): PeerItems {
  const mac = vtepMacOf(peer, family);
  if (mac === undefined) return { items: [], warning: `published no IPv${family} VTEP MAC` };
  const theirs = publishedField(peer.backend.data[family], field);
  if (theirs !== undefined && theirs !== id)
    return { items: [], warning: `uses ${field} ${JSON.stringify(theirs)}, this node ${id}` };
  return { items: items(mac) };
}

/** A field of what a peer published; keys match case-insensitively, as in Go. */
export function publishedField(data: unknown, name: string): unknown {
  if (typeof data !== 'object' || data === null) return undefined;
  return Object.entries(data).find(([key]) => key.toLowerCase() === name.toLowerCase())?.[1];
}
