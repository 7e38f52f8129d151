import type { WiringName } from '../../cluster/wiring.ts';
import type { Link } from '../../linux/link/link.ts';
import type { CniContext } from '../context.ts';
import { isOurs } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../records/attachment.ts';
import { hasNoHostEnd } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { bridge } from './bridge/wiring.ts';
import { doom } from './links.ts';
import { ipvlan, macvlan } from './physical/wiring.ts';
import { routed } from './routed/wiring.ts';
import type { Wiring } from './wiring.ts';

const WIRINGS: { readonly [N in WiringName]: Wiring } = { bridge, routed, macvlan, ipvlan };

/** The network's wiring for our own configuration; a bridge for one that names a bridge or ranges. */
export function wiringFor(call: Invocation, { wiring = 'bridge' }: CniContext): Wiring {
  return isOurs(call.conf) ? WIRINGS[wiring] : bridge;
}

export function wiringOf({ wiring }: Pick<Attachment, 'wiring'>): Wiring {
  return WIRINGS[wiring ?? 'bridge'];
}

/** Whether we made an interface for the attachment. */
export function hasLink(record: Attachment): boolean {
  return !record.chained && (record.hostDevice !== undefined || hasNoHostEnd(record));
}

/** The link that shows whether an attachment lives, if it has one. */
export function linkOf(record: Attachment, state: CniState): Link | undefined {
  return hasLink(record) ? wiringOf(record).link(record, state) : undefined;
}

/** Removes the interface of an attachment; if its record is damaged, host ends that may be its own. */
export function removeLink(record: Attachment | DamagedAttachment, state: CniState): void {
  if (record.state !== 'damaged') {
    if (hasLink(record)) wiringOf(record).remove(record, state);
  } else if (record.role === 'interface') {
    for (const link of strayLinks(record, state)) doom(link, state);
  }
}

/** Links any wiring may have left of an attachment without a record. */
export function strayLinks(key: AttachmentKey, state: CniState): readonly Link[] {
  return Object.values(WIRINGS).flatMap((wiring) => wiring.strayLinks(key, state));
}
