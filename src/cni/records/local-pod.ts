import type { LocalPod } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import { addressOf, type Cidr, cidrOf, lengthOf, type Prefixed } from '../../ip/cidr.ts';
import { type Attachment, Attachments, handleOf } from './attachment.ts';
import { hasNoHostEnd } from './record.ts';

/** Converts a completed attachment for the agent's desired state; undefined if it is not a pod interface. */
export function localPod(record: Attachment): LocalPod | undefined {
  if (record.role !== 'interface' || !(record.hostDevice || hasNoHostEnd(record))) return undefined;
  return {
    labels: {},
    ...record.pod,
    containerId: record.containerId,
    ifName: record.ifName,
    ...(record.hostDevice && { hostDevice: record.hostDevice }),
    netns: record.netns,
    netnsId: record.netnsId,
    addresses: record.addresses.map(addressOf),
    ...(record.managed ? {} : { foreign: true }),
    ...(record.wiring ? { wiring: record.wiring } : { subnets: record.addresses.map(networkOf) }),
    ...(record.borrowed && { borrowed: record.borrowed }),
    ...(record.mac && { mac: record.mac }),
    ...(record.bridge && { bridge: record.bridge }),
    ...(record.allowedSources && { allowedSources: record.allowedSources }),
    ...(record.bandwidth && { bandwidth: record.bandwidth }),
    ...(record.hostPorts && { hostPorts: record.hostPorts }),
    ...(record.leadsVia && { leadsVia: record.leadsVia }),
  };
}

/**
 * The block handles of a node's attachments: any other handle of the node in the store is unused. Throws IO
 * while there is a record that does not say whose it is.
 */
export function liveHandles(stateDir: string): string[] {
  return new Attachments(stateDir).list().map((record) => {
    if (record.containerId !== '') return handleOf(record);
    const file = record.state === 'damaged' ? record.file : '';
    throw new FlatnetError('cannot be read, and may be any pod’s', {
      code: 'IO',
      operation: 'read',
      object: file,
    });
  });
}

/** Returns the node's pods as recorded. For use at the agent's start, before `collectGarbage`. */
export function loadAttachments(stateDir: string): LocalPod[] {
  const records = new Attachments(stateDir).list();
  return records.flatMap((record) => (record.state === 'ready' ? (localPod(record) ?? []) : []));
}

function networkOf(address: Prefixed): Cidr {
  return cidrOf(addressOf(address), lengthOf(address));
}
