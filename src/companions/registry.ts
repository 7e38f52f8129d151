import type { BirdOperations } from './bird/status/handlers.ts';
import type { RegisteredCompanion } from './companion.ts';

/** The operations of all companions, with their answers. */
export type CompanionOperations = BirdOperations;

/** All kinds of companions; a backend not listed here needs none. */
export const COMPANIONS: readonly RegisteredCompanion[] = [
  {
    backend: 'bgp',
    name: 'bird',
    operations: ['bgp-status', 'bgp-routes'],
    load: async () => (await import('./bird/companion.ts')).bird,
  },
];
