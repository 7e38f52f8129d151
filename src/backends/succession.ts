import { Fields } from '../cluster/fields.ts';
import type { Network } from '../cluster/network.ts';
import { type Configured, configuredBackend } from './registry.ts';

/**
 * Throws CONFIG_INVALID if two backends would receive at the same UDP port. During a change they stand side
 * by side, and the kernel gives a port to one of them.
 */
export function refuseSharedPort(before: Network, after: Network): void {
  const [former, next] = [configuredBackend(before), configuredBackend(after)];
  if (former.backend.type === next.backend.type) return;
  const shared = portsOf(next).find((port) => portsOf(former).includes(port));
  if (shared === undefined) return;
  const { options } = after.backend;
  throw new Fields(options, 'Backend').invalid(
    'Port',
    `${shared} is the port of ${former.backend.type}, which nodes still use during the change; choose another`,
  );
}

function portsOf({ backend, options }: Configured): readonly number[] {
  return backend.decapsulates?.(options).udp ?? [];
}
