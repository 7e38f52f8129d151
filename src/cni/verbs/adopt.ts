import { podTitle } from '../../cluster/node.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { addressOf } from '../../ip/cidr.ts';
import { linkSet } from '../../linux/link/change.ts';
import type { Link } from '../../linux/link/link.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import { podAlias } from '../../wiring/pod-device.ts';
import { type Attachment, fileName } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import { decodeAttachment } from '../records/record.ts';
import type { CniState } from '../state.ts';
import { findLink, hostEndOf } from '../wiring/links.ts';
import { strangerWithMacOf } from '../wiring/mac.ts';
import { reservedFor, withLength } from './identity.ts';
import { attachmentWithMac } from './taken-mac.ts';

/** The pods that have records now, and those that were refused, with the reason. */
export type Adopted = { readonly adopted: readonly string[]; readonly refused: readonly string[] };

/**
 * Gives records to pods that another plugin has attached to our bridge, from proposed ones: from then on they
 * are guarded, followed and freed as ours. What a record says is checked against the kernel, and the
 * addresses are those that are reserved: at least those that it names. A pod that has a record keeps it.
 */
export async function adopt(proposed: unknown, state: CniState): Promise<Adopted> {
  const adopted: string[] = [];
  const refused: string[] = [];
  for (const each of Array.isArray(proposed) ? proposed : []) {
    try {
      const record = decodeAttachment(JSON.stringify(each));
      await state.locks.run(record.containerId, () => adoptOne(record, state));
      adopted.push(podTitle({ ...record, ...record.pod }));
    } catch (error) {
      refused.push(messageOf(error));
    }
  }
  return { adopted, refused };
}

async function adoptOne(proposed: Attachment, state: CniState): Promise<void> {
  const { attachments, context, bootId, link: socket } = state;
  const title = podTitle({ ...proposed, ...proposed.pod });
  const link = hostEndOf(proposed, state);
  const known = attachments.read(proposed);
  if (known && known.state !== 'damaged') {
    // A crash came between record and alias.
    if (known.state === 'ready' && link?.name === known.hostDevice && link && !isOurs(link))
      await follow(known, link, state);
    return;
  }
  if (!link || link.name !== proposed.hostDevice) throw refusal(title, 'its interface is not what it was');
  if (link.master === undefined || findLink(socket, link.master)?.name !== context.bridge)
    throw refusal(title, `it is not on ${context.bridge}`);
  const { pool, ips } = reservedFor(proposed, state);
  if (!pool) throw refusal(title, 'it has no reservation');
  const missing = proposed.addresses.map(addressOf).filter((ip) => !ips.includes(ip));
  if (missing.length > 0)
    throw refusal(title, `${missing.join(' and ')} is not reserved for it in ${pool.dir}`);
  const record: Attachment = {
    ...proposed,
    state: 'ready',
    bootId,
    dir: pool.dir,
    addresses: ips.map((ip) => withLength(ip, context.bridge, state)),
    bridge: context.bridge,
    managed: true,
  };
  refuseOthersMac(record, link, state);
  if (!localPod(record)) throw refusal(title, 'it has no interface here');
  attachments.replace({ file: fileName(record) }, record);
  await follow(record, link, state);
}

/** Marks the link as ours, and tells the agent of the pod. */
async function follow(record: Attachment, link: Link, { context, link: socket }: CniState): Promise<void> {
  const pod = localPod(record);
  if (!pod) return;
  // By the alias, the record is rebuilt if it is lost.
  await socket.execute(linkSet(link.index, { alias: podAlias(pod) }));
  context.attached(pod);
  const reason = await context.admit?.(pod);
  if (reason === undefined) return;
  const title = podTitle({ ...record, ...record.pod });
  context.warn(`${title} is adopted, but not guarded yet`, new Error(reason));
}

function isOurs({ alias }: Link): boolean {
  return alias?.startsWith(`${OUR_ALIAS} `) ?? false;
}

/** With another's MAC, a pod would get that one's frames, and what it may send from. */
function refuseOthersMac(record: Attachment, own: Link, state: CniState): void {
  const { mac, lost = [] } = record;
  if (mac === undefined) return;
  const isCertain = !lost.includes('mac');
  const who = attachmentWithMac(mac, record, state) ?? strangerWithMacOf(mac, { own, isCertain }, state);
  if (who === undefined) return;
  throw refusal(podTitle({ ...record, ...record.pod }), `its MAC ${mac} is that of ${who}`);
}

function refusal(title: string, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'CNI', operation: 'adopt', object: title });
}
