import type { LocalPod } from '../../cluster/node.ts';
import { addressOf, type Cidr, cidrOf, lengthOf, type Prefixed } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import { type Attachment, Attachments, handleOf } from './attachment.ts';

/** Converts a completed attachment for the agent's desired state; undefined if it is not a pod interface. */
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
    ...(record.wiring ? { wiring: record.wiring } : { subnets: record.addresses.map(networkOf) }),
    ...(record.borrowed && { borrowed: record.borrowed }),
    ...(record.mac && { mac: record.mac }),
    ...(record.bridge && { bridge: record.bridge }),
    ...(record.allowedSources && { allowedSources: record.allowedSources }),
  };
}

/** The block handles of a node's attachments: any other handle of the node in the store is unused. */
export function liveHandles(stateDir: string): string[] {
  return new Attachments(stateDir).list().map(handleOf);
}

/**
 * Returns the node's pods. For use at the agent's start, after `collectGarbage`. `macOf` reads the MAC of a
 * pod's interface, which records of earlier versions lack; it is recorded.
 */
export function loadAttachments(
  stateDir: string,
  macOf: (record: Attachment) => Mac | undefined,
): LocalPod[] {
  const attachments = new Attachments(stateDir);
  return attachments.list().flatMap((record) => {
    if (record.state !== 'ready') return [];
    const mac = record.mac ?? (localPod(record) ? macOf(record) : undefined);
    if (mac === undefined || mac === record.mac) return localPod(record) ?? [];
    const complete = { ...record, mac };
    attachments.write(complete);
    return localPod(complete) ?? [];
  });
}

function networkOf(address: Prefixed): Cidr {
  return cidrOf(addressOf(address), lengthOf(address));
}
