import { encapsulation } from './calico/ip-pool.ts';
import type { Fields } from './fields.ts';
import { WIRING_NAMES, type WiringName } from './wiring.ts';

/**
 * `lease`: a node has one subnet per family, cut from the network's pools. `blocks`: it claims blocks of
 * IPPools as it needs them.
 */
export type AddressPlan = 'lease' | 'blocks';

/** How pods get their addresses and are wired; the same for every node. */
export type Plan = {
  readonly addresses: AddressPlan;
  /** How a pod is attached to its node: through a port of a bridge, or by a route. */
  readonly wiring: WiringName;
};

/**
 * Reads `addresses` and `wiring`. Only BGP announces blocks and borrowed addresses. A bridge has a single
 * subnet, so blocks and BGP need routed pods. Throws CONFIG_INVALID naming the value to change.
 */
export function readPlan(fields: Fields, backendType: string): Plan {
  const addresses = word(fields, 'addresses', ['lease', 'blocks']);
  const wiring = word(fields, 'wiring', WIRING_NAMES);
  if (addresses === 'blocks' && wiring === 'bridge') {
    throw fields.invalid('wiring', 'must be routed where addresses is blocks: a bridge has one subnet');
  }
  if (backendType === 'bgp' && wiring === 'bridge') {
    throw fields.invalid('wiring', 'must be routed where Backend.Type is bgp');
  }
  if (addresses === 'blocks' && backendType !== 'bgp') {
    throw fields.invalid(
      'addresses',
      `blocks are announced by BGP, not by ${backendType}; set Backend.Type to bgp, or addresses to lease`,
    );
  }
  const backend = fields.object('Backend');
  if (backend && backendType === 'bgp') encapsulation(backend, 'ipipMode');
  return { addresses, wiring };
}

/** The first is the default. */
function word<T extends string>(fields: Fields, name: string, words: readonly [T, ...T[]]): T {
  const text = fields.string(name)?.toLowerCase();
  if (text === undefined) return words[0];
  const known = words.find((each) => each === text);
  if (known !== undefined) return known;
  throw fields.invalid(name, `must be ${words.join(' or ')}, not '${text}'`);
}
