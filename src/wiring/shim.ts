import type { Parent } from '../cluster/parent.ts';
import type { Physical } from '../cluster/physical.ts';
import { PHYSICAL_WIRINGS, type PhysicalWiring } from '../cluster/wiring.ts';
import { type Mac, macFromSeed } from '../ip/mac.ts';

/**
 * The node's own interface on its pods' side: a parent never talks to what shares it. As `flannel…` it is
 * never taken for the underlay.
 */
export function shimName(wiring: PhysicalWiring): string {
  return `flannel-${wiring}`;
}

/** Whether a device is a shim. */
export function isShim(name: string): boolean {
  return PHYSICAL_WIRINGS.some((wiring) => name === shimName(wiring));
}

/** Whether pods talk to one another on their parent, so that the node can by a shim. */
export function hasShim({ mode }: Pick<Physical, 'mode'>): boolean {
  return mode !== 'private' && mode !== 'passthru';
}

/** The MAC at which pods reach their node: with ipvlan all share that of the parent. */
export function nodeMac({ wiring }: Pick<Physical, 'wiring'>, { mac }: Parent): Mac {
  return wiring === 'ipvlan' ? mac : macFromSeed(`${mac} shim`);
}
