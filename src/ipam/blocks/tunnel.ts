import type { IpPool } from '../../cluster/resources.ts';
import { contains } from '../../ip/cidr.ts';
import { tunnelHandle } from '../../store/ports/blocks.ts';
import type { Assigned, Assigner } from '../assigner.ts';
import { selects } from './pools.ts';

/**
 * Assigns the address of the node's IPIP device, from the same blocks as pod addresses, so that no pod can
 * ever get it too. Returns undefined, releasing any former address, when no pool for this node is
 * encapsulated. Repeated calls return the same address until its pool is no longer encapsulated.
 */
export async function tunnelAddress(
  assigner: Assigner,
  node: { readonly name: string; readonly labels: Readonly<Record<string, string>> },
  pools: readonly IpPool[],
  signal?: AbortSignal,
): Promise<Assigned | undefined> {
  const handle = tunnelHandle(node.name);
  const encapsulated = pools.filter((pool) => pool.ipipMode !== 'Never');
  const held = (await assigner.held(handle))[0];
  if (held && encapsulated.some(({ cidr }) => contains(cidr, held.ip))) return held;
  if (held) await assigner.release(handle);
  const usable = encapsulated.filter((pool) => selects(pool, { family: 4, nodeLabels: node.labels }));
  if (usable.length === 0) return undefined;
  const request = {
    handle,
    families: [4],
    attributes: { type: 'ipipTunnelAddress' },
    pools: usable.map(({ name }) => name),
  } as const;
  return (await assigner.assign(request, signal))[0];
}
