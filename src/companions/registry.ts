import type { RegisteredCompanion } from './companion.ts';

/** All kinds of companions; a backend not listed here needs none. */
export const COMPANIONS: readonly RegisteredCompanion[] = [
  {
    backend: 'bgp',
    name: 'bird',
    operations: ['bgp-status', 'bgp-routes'],
    load: async () => (await import('./bird/companion.ts')).bird,
  },
];
