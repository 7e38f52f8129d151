import { podTitle } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { addressOf, contains, type Prefixed } from '../../ip/cidr.ts';
import { CniError, CODE, unsupported } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { podIdentity } from '../protocol/pod.ts';
import type { Result } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import { notedDels } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { netnsAt } from '../wiring/pod-netns.ts';
import { wiringOf } from '../wiring/registry.ts';
import { takeBack } from './del.ts';
import { doNotedDel } from './noted.ts';

/** The outcome of an ADD's work. */
export type Made = {
  readonly result: Result;
  readonly addresses: readonly Prefixed[];
  /** Bytes. */
  readonly mtu?: number;
  readonly borrowed?: readonly Ip[];
};

/**
 * Runs the work of an ADD between its two records: the first is on disk before anything is made, the second
 * says that everything is there. If the work fails, takes everything back and rethrows.
 */
export async function recorded(
  record: Attachment,
  state: CniState,
  work: () => Promise<Made>,
): Promise<Result> {
  state.attachments.write(record);
  state.step('record written');
  try {
    const { result, addresses, mtu, borrowed } = await work();
    const ready: Attachment = {
      ...record,
      state: 'ready',
      addresses,
      ...(mtu ? { mtu } : {}),
      ...(borrowed?.length ? { borrowed } : {}),
    };
    state.attachments.write(ready);
    state.step('record completed');
    const pod = localPod(ready);
    if (pod) state.context.attached(pod);
    return result;
  } catch (error) {
    try {
      // An owner that has an address already keeps it: it is another attachment's, and this one got none.
      const taken = error instanceof FlatnetError && error.code === 'ADDRESS_TAKEN';
      await takeBack(taken ? { ...record, dir: '' } : record, state);
    } catch (second) {
      const pod = podTitle({ ...record, ...record.pod });
      state.context.warn(`taking back the failed ADD of ${pod}`, second);
    }
    throw error;
  }
}

/** The first record of an ADD; it names no source of addresses. */
export function newRecord(
  key: AttachmentKey,
  call: Invocation,
  netnsId: number,
  state: CniState,
): Attachment {
  const pod = podIdentity(call);
  const { bootId } = state;
  return { ...key, state: 'adding', netns: call.netns, netnsId, bootId, pod, dir: '', addresses: [] };
}

/**
 * Refuses a second ADD while the first one's work stands. Removes what an interrupted ADD left, or one whose
 * DEL was noted while no agent was there to do it.
 */
export async function clearTheWay(key: AttachmentKey, call: Invocation, state: CniState): Promise<void> {
  for (const note of notedDels(state.context.stateDir, call)) await doNotedDel(note, state);
  const earlier = state.attachments.read(key);
  if (!earlier) return;
  const stands =
    earlier.state === 'ready' &&
    earlier.bootId === state.bootId &&
    earlier.netnsId === netnsAt(call.netns) &&
    (!earlier.hostDevice || wiringOf(earlier).hostLink(earlier, state));
  if (stands) {
    throw new CniError(
      CODE.INTERNAL,
      `container ${key.containerId} has interface ${key.ifName} on network ${key.network} already`,
      'DEL comes before a second ADD',
    );
  }
  await takeBack(earlier, state);
}

/**
 * Frees the name of the host device: a pod may return although its earlier sandbox was never deleted. Nothing
 * answers for the old sandbox's addresses then.
 */
export async function evict(hostDevice: string, key: AttachmentKey, state: CniState): Promise<void> {
  for (const earlier of state.attachments.onDevice(hostDevice)) {
    if (earlier.containerId === key.containerId) continue;
    // Don't wait for it: it may be waiting for us.
    if (state.locks.isBusy(earlier.containerId)) {
      const text = `another sandbox of the pod is at work on ${hostDevice}`;
      throw new CniError(CODE.TRY_AGAIN, text, earlier.containerId);
    }
    await state.locks.run(earlier.containerId, () => takeBack(earlier, state));
  }
}

/** Throws CniError 11 while the agent cannot serve an ADD. */
export function assertReady({ context }: CniState): void {
  const reason = context.notReady();
  if (reason) throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', reason);
}

/**
 * The agent masquerades what leaves the cluster's networks. Throws CniError 2 for a configuration that wants
 * more.
 */
export function refuseMasquerade(
  call: Invocation,
  dev: string,
  ips: readonly Prefixed[],
  state: CniState,
): void {
  if (!call.conf.boolean('ipMasq')) return;
  const { masquerade, networks } = state.context;
  const covered = ips.every((ip) => networks.some((network) => contains(network, addressOf(ip))));
  if (masquerade && covered) return;
  const why = masquerade
    ? `addresses of ${dev} are outside ${networks.join(', ')}`
    : 'the agent does not masquerade';
  throw unsupported('ipMasq', true, why);
}
