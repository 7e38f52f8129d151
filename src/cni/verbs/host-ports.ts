import { isDeepStrictEqual } from 'node:util';
import { collide, type HostPort, hostPortText } from '../../cluster/host-port.ts';
import { podName, podTitle } from '../../cluster/node.ts';
import { whyOwn } from '../../cluster/own-port.ts';
import { portElements } from '../../host-ports/pods.ts';
import { addressMap, portMap, tableOf } from '../../host-ports/tables.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { readElements } from '../../linux/nftables/element-dump.ts';
import { familiesOf } from '../addresses/blocks.ts';
import { readHostPorts } from '../capabilities/host-ports.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Invocation } from '../protocol/invocation.ts';
import { type Attachment, fileName } from '../records/attachment.ts';
import { localPod } from '../records/local-pod.ts';
import type { CniState } from '../state.ts';
import { removeAttachment } from './del.ts';
import { isStale } from './stale.ts';

/**
 * Frees host ports that a new attachment asks for, where their holder is gone without a DEL, or is an earlier
 * sandbox of the same pod.
 */
export async function evictPortHolders(record: Attachment, state: CniState): Promise<void> {
  for (const { holder } of conflicts(record, state)) {
    const isSamePod = podName(record.pod ?? {}) !== undefined && title(holder) === title(record);
    if (!isSamePod && !isStale(holder, state)) continue;
    // Don't wait for the lock: its holder may be waiting for ours.
    if (holder.containerId === record.containerId || state.locks.isBusy(holder.containerId)) continue;
    await state.locks.run(holder.containerId, () => removeAttachment(holder, state));
  }
}

/**
 * Returns a record without the host ports that lead to the same container already: a runtime that attaches
 * it to several networks lists its ports for each.
 */
export function withoutSharedPorts(record: Attachment, state: CniState): Attachment {
  const { hostPorts: asked, ...others } = record;
  const hostPorts = notShared(asked ?? [], record, state);
  if (hostPorts.length === asked?.length) return record;
  return hostPorts.length > 0 ? { ...others, hostPorts } : others;
}

function notShared(
  ports: readonly HostPort[],
  { containerId, ...key }: Attachment,
  { attachments }: CniState,
): readonly HostPort[] {
  if (ports.length === 0) return ports;
  const others = attachments
    .withHostPorts()
    .filter(
      (each) => each.containerId === containerId && fileName(each) !== fileName({ containerId, ...key }),
    );
  const held = others.flatMap(({ hostPorts = [] }) => hostPorts);
  return ports.filter((port) => !held.some((other) => isDeepStrictEqual(other, port)));
}

/**
 * Throws CniError 11 naming the holder if a host port leads elsewhere already, CniError 7 if it is
 * the node's own. The caller writes the record at once, so that no other ADD comes between.
 */
export function assertPortsFree(record: Attachment, state: CniState): void {
  const { hostPorts = [] } = record;
  if (hostPorts.length === 0) return;
  const { ownPorts = [] } = state.context;
  for (const port of hostPorts) {
    const why = whyOwn(port, ownPorts);
    if (why === undefined) continue;
    throw new CniError(CODE.INVALID_CONFIG, `host port ${hostPortText(port)} ${why}`, 'choose another one');
  }
  const [first] = conflicts(record, state);
  if (!first) return;
  const text = `host port ${hostPortText(first.port)} is taken by ${title(first.holder)}`;
  throw new CniError(CODE.TRY_AGAIN, text, `container ${first.holder.containerId}`);
}

/** For CHECK: throws CniError 999 if a host port that the call lists does not lead to the pod. */
export async function checkHostPorts(call: Invocation, record: Attachment, state: CniState): Promise<void> {
  const wanted = notShared(readHostPorts(call.conf), record, state);
  const pod = localPod(record);
  if (wanted.length === 0 || !pod) return;
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: state.netns });
  for (const family of familiesOf(state.context)) {
    const elements = [portMap(family), addressMap(family)].map((map) =>
      readElements(socket, tableOf(family), map),
    );
    const present = (await Promise.all(elements)).flat();
    for (const { set, key, data } of portElements(pod, wanted, family)) {
      if (present.some((each) => each.set === set && each.key === key && each.data === data)) continue;
      throw new CniError(CODE.INTERNAL, `host port ${key} does not lead to ${data}`);
    }
  }
}

type Conflict = { readonly port: HostPort; readonly holder: Attachment };

function conflicts(record: Attachment, { attachments }: CniState): Conflict[] {
  const { hostPorts = [] } = record;
  if (hostPorts.length === 0) return [];
  return attachments
    .withHostPorts()
    .filter((holder) => fileName(holder) !== fileName(record))
    .flatMap((holder) =>
      hostPorts
        .filter((port) => holder.hostPorts?.some((other) => collide(port, other)))
        .map((port) => ({ port, holder })),
    );
}

function title(record: Attachment): string {
  return podTitle({ ...record, ...record.pod });
}
