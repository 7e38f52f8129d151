import type { Host } from '../cluster/host.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import type { Server } from '../url.ts';

/**
 * The ports of those servers that run on this node, as far as their names tell: an address of this host or of
 * its loopback, or the node's own name.
 */
export function servedHere(
  servers: readonly Server[],
  { addresses }: Pick<Host, 'addresses'>,
  node: string,
): readonly OwnPort[] {
  const own: ReadonlySet<string> = new Set([...addresses, 'localhost', '::1', node]);
  const here = servers.filter(({ host }) => own.has(host) || host.startsWith('127.'));
  const ports = [...new Set(here.map(({ port }) => port))];
  return ports.map((port) => ({
    protocol: 'tcp',
    first: port,
    last: port,
    why: 'is where this node serves the cluster’s store',
  }));
}
