import { FAMILIES } from '../../ip/address.ts';
import type { Network } from '../network.ts';
import { API_VERSION, type Document } from './document.ts';

/** IPIP, like Calico's own default pool: it asks nothing of the network between the nodes. */
const IPIP_MODE = 'Always';

/**
 * The pools of a network that has `addresses: blocks` and no IPPool yet: one a family, of its whole network.
 */
export function defaultPools(network: Network): Document[] {
  return FAMILIES.flatMap((family): Document[] => {
    const pool = network.pools[family];
    if (!pool) return [];
    const spec = {
      cidr: pool.cidr,
      blockSize: pool.subnetLength,
      ipipMode: family === 4 ? ipipMode(network) : 'Never',
      natOutgoing: network.masquerade.enabled,
    };
    return [
      { apiVersion: API_VERSION, kind: 'IPPool', metadata: { name: `default-ipv${family}-ippool` }, spec },
    ];
  });
}

/** `ipipMode` of the backend, its key matched without case like all keys; `readNetwork` has checked it. */
function ipipMode({ backend }: Network): unknown {
  const [, value] = Object.entries(backend.options).find(([key]) => key.toLowerCase() === 'ipipmode') ?? [];
  return value ?? IPIP_MODE;
}
