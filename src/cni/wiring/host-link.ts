import { type Link, linkDump, linkSet } from '../../linux/link/link.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import { ownerMark, podAlias } from '../../wiring/pod-device.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { findLink, hostDeviceName } from './pod-link.ts';
import { netnsAt, PodNetns } from './pod-netns.ts';
import { DOOMED } from './sweep.ts';

/** The host's ends of veths that an attachment of ours has or, without a whole record, may have. */
export function hostLinks(record: Attachment | DamagedAttachment, state: CniState): Link[] {
  if (record.state === 'damaged') return record.role === 'interface' ? strayLinks(record, state) : [];
  if (record.chained || !record.hostDevice) return [];
  const link = ownLink(record, state) ?? (record.wiring === 'routed' ? farEndOf(record, state) : undefined);
  return link ? [link] : [];
}

/** The host device of a record, if it is there and still this attachment's: names follow from the pod's, and pods come again. */
export function ownLink(record: Attachment, state: CniState): Link | undefined {
  const { hostDevice, wiring } = record;
  const link = hostDevice ? findLink(state.link, hostDevice) : undefined;
  if (wiring !== 'routed') return link;
  return link?.alias === aliasOf(record) ? link : undefined;
}

/** What an attachment without a record has: on the bridge it is known by its name, a routed one by its alias. */
export function strayLinks(key: AttachmentKey, state: CniState): Link[] {
  const bridged = findLink(state.link, hostDeviceName(key));
  const mark = ownerMark(key);
  const routed = state.link
    .dumpSync(linkDump({ kind: 'veth' }))
    .filter(({ alias }) => alias?.startsWith(OUR_ALIAS) && alias.endsWith(mark));
  return [...(bridged ? [bridged] : []), ...routed];
}

/** The host's end of a veth whose other end is a pod's interface. */
export function farEnd(at: Pick<Attachment, 'netns' | 'ifName'>, state: CniState): Link | undefined {
  using netns = PodNetns.tryOpen(at.netns, state.netns);
  if (!netns) return undefined;
  const inside = findLink(netns.link, at.ifName);
  if (inside?.kind !== 'veth' || !inside.linkIndex) return undefined;
  const outside = findLink(state.link, inside.linkIndex);
  return outside?.kind === 'veth' && outside.linkIndex === inside.index ? outside : undefined;
}

export function aliasOf(record: Attachment): string {
  return podAlias({ ...record, ...record.pod });
}

/** Takes a link out of service at once and has it deleted soon. */
export function doom(link: Link | undefined, state: CniState): void {
  if (link?.kind !== 'veth') return;
  if (link.group !== DOOMED) {
    const answers = state.link.executeAllSync(linkSet(link.index, { up: false, master: 0, group: DOOMED }));
    // The kernel may be taking it apart with the pod's namespace at this moment.
    const error = answers.find((answer) => answer && answer.errno !== 'ENODEV');
    if (error) throw error;
  }
  void state.sweeper.sweep();
}

/** Somebody changed the alias; the namespace is the one of then. */
function farEndOf(record: Attachment, state: CniState): Link | undefined {
  const { bootId, netnsId, netns } = record;
  return bootId === state.bootId && netnsId === netnsAt(netns) ? farEnd(record, state) : undefined;
}
