import { podTitle } from '../../cluster/node.ts';
import type { Mac } from '../../ip/mac.ts';
import type { RequestedMac } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Attachment, AttachmentKey, DamagedAttachment } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { strangerWithMac } from '../wiring/mac.ts';
import { isStale } from './stale.ts';

/**
 * Throws CniError 7 if the MAC that an ADD asks for is another's on this node: of another attachment, whose
 * frames and allowed sources the new pod would share, or of the bridge or another device.
 */
export function refuseTakenMac({ mac, field }: RequestedMac, key: AttachmentKey, state: CniState): void {
  const who = attachmentWithMac(mac, key, state) ?? strangerWithMac(mac, state);
  if (who === undefined) return;
  const text = `${field}: ${mac} is the MAC of ${who}`;
  throw new CniError(CODE.INVALID_CONFIG, text, 'ask for another, or for none');
}

/** The other attachment that has the MAC. */
export function attachmentWithMac(mac: Mac, key: AttachmentKey, state: CniState): string | undefined {
  const holder = state.attachments
    .withMac(mac, key)
    .find((each) => each.state !== 'ready' || !isStale(each, state));
  return holder && titleOf(holder);
}

function titleOf(holder: Attachment | DamagedAttachment): string {
  return podTitle(holder.state === 'damaged' ? holder : { ...holder, ...holder.pod });
}
