import { podTitle } from '../../cluster/node.ts';
import type { RequestedMac } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { AttachmentKey } from '../records/attachment.ts';
import type { CniState } from '../state.ts';
import { deviceWithMac } from '../wiring/mac.ts';
import { isStale } from './stale.ts';

/**
 * Throws CniError 7 if the MAC that an ADD asks for is another's on this node: of another attachment, whose
 * frames and allowed sources the new pod would share, or of the bridge or another device.
 */
export function refuseTakenMac({ mac, field }: RequestedMac, key: AttachmentKey, state: CniState): void {
  const holder = state.attachments
    .withMac(mac, key)
    .find((each) => each.state === 'adding' || !isStale(each, state));
  const device = holder ? undefined : deviceWithMac(mac, state);
  if (holder) throw taken(podTitle({ ...holder, ...holder.pod }));
  if (device !== undefined) throw taken(`the node’s device ${device}`);

  function taken(by: string): CniError {
    return new CniError(
      CODE.INVALID_CONFIG,
      `${field}: ${mac} is the MAC of ${by}`,
      'ask for another, or for none',
    );
  }
}
