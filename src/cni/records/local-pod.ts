import type { LocalPod } from '../../cluster/node.ts';
import { addressOf } from '../../ip/cidr.ts';
import { type Attachment, Attachments, handleOf } from './attachment.ts';

/**
 * A completed attachment as the agent's desired state has it; undefined where it is none of a pod's
 * interfaces.
 */
export function localPod(record: Attachment): LocalPod | undefined {
  if (record.role !== 'interface' || !record.hostDevice) return undefined;
  return {
    labels: {},
    ...record.pod,
    containerId: record.containerId,
    ifName: record.ifName,
    hostDevice: record.hostDevice,
    netns: record.netns,
    addresses: record.addresses.map(addressOf),
    ...(record.managed ? {} : { foreign: true }),
    ...(record.wiring && { wiring: record.wiring }),
    ...(record.borrowed && { borrowed: record.borrowed }),
  };
}

/**
 * What the attachments of a node hold of the blocks plan: all else under its name in the store is nobody's.
 */
export function liveHandles(stateDir: string): string[] {
  return new Attachments(stateDir).list().map(handleOf);
}

/** The pods of a node. For an agent's start, after `collectGarbage`. */
export function loadAttachments(stateDir: string): LocalPod[] {
  return new Attachments(stateDir)
    .list()
    .flatMap((record) => (record.state === 'ready' ? (localPod(record) ?? []) : []));
}
