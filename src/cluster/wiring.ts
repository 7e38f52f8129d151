/**
 * How a pod may hang on its node: as a port of a bridge, or by a route of its own. The first is the default.
 */
export const WIRINGS = ['bridge', 'routed'] as const;
export type WiringName = (typeof WIRINGS)[number];
