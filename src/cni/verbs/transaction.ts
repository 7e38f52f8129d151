import { podTitle } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { addressOf, contains, type Prefixed } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import { CniError, CODE, unsupported } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { podIdentity } from '../protocol/pod.ts';
import type { Result } from '../protocol/result.ts';
import type { Attachment, AttachmentKey } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import { notedDels } from '../records/noted-del.ts';
import type { CniState } from '../state.ts';
import { netnsAt } from '../wiring/pod-netns.ts';
import { linkOf } from '../wiring/registry.ts';
import { removeAttachment } from './del.ts';
import { assertPortsFree, withoutSharedPorts } from './host-ports.ts';
import { runNotedDel } from './noted.ts';
import { readOrRecover } from './recover.ts';

/** The outcome of an ADD. */
export type AddOutcome = {
  readonly result: Result;
  readonly addresses: readonly Prefixed[];
  /** Bytes. */
  readonly mtu?: number;
  readonly borrowed?: readonly Ip[];
  /** Of the pod's interface. */
  readonly mac?: Mac;
};

/**
 * Runs the work of an ADD between two records: the first is on disk before anything is created, the second
 * marks completion. If the work fails, rolls everything back and rethrows.
 */
export async function withRecord(
  asked: Attachment,
  state: CniState,
  work: () => Promise<AddOutcome>,
): Promise<Result> {
  const record = withoutSharedPorts(asked, state);
  assertPortsFree(record, state);
  state.attachments.write(record);
  state.step('record written');
  try {
    const { result, addresses, mtu, borrowed, mac } = await work();
    const ready: Attachment = {
      ...record,
      state: 'ready',
      addresses,
      ...(mtu ? { mtu } : {}),
      ...(borrowed?.length ? { borrowed } : {}),
      ...(mac ? { mac } : {}),
    };
    state.attachments.write(ready);
    state.step('record completed');
    const pod = localPod(ready);
    if (pod) {
      state.context.attached(pod);
      const refusal = await state.context.admit?.(pod);
      if (refusal !== undefined)
        throw new CniError(CODE.TRY_AGAIN, 'the kernel does not hold what the pod needs yet', refusal);
    }
    return result;
  } catch (error) {
    try {
      // The owner already had an address, which belongs to another attachment: this one got none to release.
      const taken = error instanceof FlatnetError && error.code === 'ADDRESS_TAKEN';
      await removeAttachment(taken ? { ...record, dir: '' } : record, state);
    } catch (second) {
      const pod = podTitle({ ...record, ...record.pod });
      state.context.warn(`rolling back the failed ADD of ${pod}`, second);
    }
    throw error;
  }
}

/** The first record of an ADD, without a source of addresses. */
export function newRecord(
  key: AttachmentKey,
  call: Invocation,
  netnsId: number,
  state: CniState,
): Attachment {
  const pod = podIdentity(call);
  const { bootId } = state;
  return {
    ...key,
    state: 'adding',
    netns: call.netns,
    netnsId,
    bootId,
    pod,
    dir: '',
    addresses: [],
  };
}

/**
 * Rejects a second ADD while the attachment of the first exists. Removes leftovers of an interrupted ADD, or
 * of one whose DEL was noted while the agent was unavailable.
 */
export async function removeLeftovers(key: AttachmentKey, call: Invocation, state: CniState): Promise<void> {
  for (const note of notedDels(state.context.stateDir, call)) await runNotedDel(note, state);
  const earlier = await readOrRecover(key, state);
  if (!earlier) return;
  // The address belongs to the plugin that has made the interface just now.
  if (earlier.state === 'damaged' && call.conf.has('prevResult')) return state.attachments.remove(earlier);
  const isIntact =
    earlier.state === 'ready' &&
    earlier.bootId === state.bootId &&
    earlier.netnsId === netnsAt(call.netns) &&
    (!earlier.hostDevice || linkOf(earlier, state) !== undefined);
  if (isIntact) {
    throw new CniError(
      CODE.INTERNAL,
      `container ${key.containerId} already has interface ${key.ifName} on network ${key.network}`,
      'call DEL before a second ADD',
    );
  }
  await removeAttachment(earlier, state);
}

/**
 * Frees the host device's name: a pod may return although its earlier sandbox was never deleted. The old
 * sandbox's addresses are no longer reachable then.
 */
export async function evict(hostDevice: string, key: AttachmentKey, state: CniState): Promise<void> {
  for (const earlier of state.attachments.onDevice(hostDevice)) {
    if (earlier.containerId === key.containerId) continue;
    // Don't wait for the lock: its holder may be waiting for ours.
    if (state.locks.isBusy(earlier.containerId)) {
      const text = `another sandbox of the pod is using ${hostDevice}`;
      throw new CniError(CODE.TRY_AGAIN, text, earlier.containerId);
    }
    await state.locks.run(earlier.containerId, () => removeAttachment(earlier, state));
  }
}

/** Throws CniError 11 while the agent cannot serve an ADD. */
export function assertReady({ context }: CniState): void {
  const reason = context.notReady();
  if (reason) throw new CniError(CODE.TRY_AGAIN, 'the node cannot take pods yet', reason);
}

/**
 * The agent masquerades traffic that leaves the cluster's networks. Throws CniError 2 for a configuration
 * that requires more.
 */
export function checkMasquerade(
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
