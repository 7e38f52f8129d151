import { FAMILIES } from '../../ip/address.ts';
import type { Network } from '../network.ts';
import { API_VERSION, type Document } from './document.ts';

/** IPIP, like Calico's own default pool: it makes no demands on the network between the nodes. */
const IPIP_MODE = 'Always';

/**
 * Returns the pools of a network that has `addresses: blocks` and no IPPool yet: one per family, covering its
 * whole network.
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

/** The backend's `ipipMode`, matched case-insensitively like all keys; already checked by `readNetwork`. */
function ipipMode({ backend }: Network): unknown {
  const [, value] = Object.entries(backend.options).find(([key]) => key.toLowerCase() === 'ipipmode') ?? [];
  return value ?? IPIP_MODE;
}
