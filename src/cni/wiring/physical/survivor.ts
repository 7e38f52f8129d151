import { isPhysical, type PhysicalWiring } from '../../../cluster/wiring.ts';
import type { Mac } from '../../../ip/mac.ts';
import { leaseIdOf } from '../../addresses/dhcp.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../../records/attachment.ts';
import type { CniState } from '../../state.ts';
import { findLink } from '../links.ts';
import { podNamespaces } from '../namespaces.ts';
import { PodNetns } from '../pod-netns.ts';
import { isInterfaceOf } from './pod.ts';

/** A pod's interface on a physical network, and the namespace it is in. */
type Interface = {
  readonly netns: string;
  readonly netnsId: number;
  readonly wiring: PhysicalWiring;
  readonly alias: string | undefined;
  readonly mac: Mac | undefined;
  /** Bytes. */
  readonly mtu: number;
};

/**
 * The interfaces in sight that may be an attachment's whose record is lost: one, unless a privileged pod
 * shows what is another's. Where a lease's file names the namespace and the interface is there, only that.
 */
export function interfacesOf(key: AttachmentKey | DamagedAttachment, state: CniState): readonly Interface[] {
  const lease = state.context.leases?.recordOf(leaseIdOf(key));
  if (!lease && key.containerId === '') return [];
  if (lease && lease.bootId === state.bootId) {
    using known = PodNetns.tryOpenKnown(lease, state.netns);
    const found = known && findIn(known, key, lease);
    if (found) return [found];
  }
  const all: Interface[] = [];
  for (const each of podNamespaces(state.netns)) {
    using netns = each;
    const isLeased = lease?.bootId === state.bootId && lease.netnsId === netns.id;
    const found = findIn(netns, key, isLeased ? lease : undefined);
    if (found) all.push(found);
  }
  return all;
}

/** A lease of this namespace proves enough by its MAC, unless pods share that of the parent. */
function findIn(
  netns: PodNetns,
  key: AttachmentKey,
  lease: Pick<Attachment, 'ifName' | 'mac'> | undefined,
): Interface | undefined {
  const link = findLink(netns.link, lease?.ifName ?? key.ifName);
  if (!link?.kind || !isPhysical(link.kind)) return undefined;
  const isNameless = key.containerId === '';
  const hasLease = lease?.mac === link.mac && (link.kind === 'macvlan' || isNameless);
  if (!hasLease && (isNameless || !isInterfaceOf(link, key))) return undefined;
  const { kind: wiring, alias, mac, mtu } = link;
  return { netns: netns.path, netnsId: netns.id, wiring, alias, mac, mtu };
}
