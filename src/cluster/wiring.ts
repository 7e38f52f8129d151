/**
 * How a pod is attached to its node: through a port of a bridge, by a route, or to the node's physical
 * network. The first is the default.
 */
export const WIRING_NAMES = ['bridge', 'routed', 'macvlan', 'ipvlan'] as const;
export type WiringName = (typeof WIRING_NAMES)[number];

/** The wirings by which pods are on the physical network, with no device of their own on the node. */
export const PHYSICAL_WIRINGS = ['macvlan', 'ipvlan'] as const satisfies readonly WiringName[];
export type PhysicalWiring = (typeof PHYSICAL_WIRINGS)[number];

export function isPhysical(wiring: string): wiring is PhysicalWiring {
  return PHYSICAL_WIRINGS.some((each) => each === wiring);
}
