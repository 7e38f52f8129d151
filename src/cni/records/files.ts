import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { AttachmentKey } from './record.ts';

/**
 * The name of an attachment's files. The specification forbids colons in network names, container IDs and
 * interface names.
 */
export function fileName({ network, containerId, ifName, role }: AttachmentKey): string {
  const name = [network, containerId, ifName, role].join(':');
  return name.length <= 240 ? `${name}.json` : `${createHash('sha256').update(name).digest('hex')}.json`;
}

/** The attachment of a file, if its name was not shortened; otherwise the container's ID is empty. */
export function keyIn(file: string): AttachmentKey {
  const [network = '', containerId = '', ifName = '', role] = file.slice(0, -'.json'.length).split(':');
  return { network, containerId, ifName, role: role === 'ipam' ? role : 'interface' };
}

/** Whether there is something at a path. Most calls find nothing, and an exception costs much more. */
export function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
