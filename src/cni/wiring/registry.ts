import type { WiringName } from '../../cluster/wiring.ts';
import type { Link } from '../../linux/link/link.ts';
import type { CniContext } from '../context.ts';
import { isOurs } from '../protocol/conf.ts';
import type { Invocation } from '../protocol/invocation.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { bridge } from './bridge/wiring.ts';
import { routed } from './routed/wiring.ts';
import type { Wiring } from './wiring.ts';

const WIRINGS: { readonly [N in WiringName]: Wiring } = { bridge, routed };

/** The network's wiring for our own configuration; a bridge for one that names a bridge or ranges. */
export function wiringFor(call: Invocation, { wiring = 'bridge' }: CniContext): Wiring {
  return isOurs(call.conf) ? WIRINGS[wiring] : bridge;
}

export function wiringOf({ wiring }: Pick<Attachment, 'wiring'>): Wiring {
  return WIRINGS[wiring ?? 'bridge'];
}

/** The host ends of an attachment; those that may be its own if its record is damaged. */
export function hostLinks(record: Attachment | DamagedAttachment, state: CniState): readonly Link[] {
  if (record.state === 'damaged') return record.role === 'interface' ? strayLinks(record, state) : [];
  if (record.chained || !record.hostDevice) return [];
  const link = wiringOf(record).hostLink(record, state);
  return link ? [link] : [];
}

/** Links any wiring may have left of an attachment without a record. */
export function strayLinks(key: AttachmentKey, state: CniState): readonly Link[] {
  return Object.values(WIRINGS).flatMap((wiring) => wiring.strayLinks(key, state));
}
