/** How a pod is attached to its node: through a port of a bridge, or by a route. The first is the default. */
export const WIRING_NAMES = ['bridge', 'routed'] as const;
export type WiringName = (typeof WIRING_NAMES)[number];
