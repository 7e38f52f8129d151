import type { RegisteredCompanion } from './companion.ts';

/** Every kind of companion there is; a backend that is not named here needs none. */
export const COMPANIONS: readonly RegisteredCompanion[] = [
  {
    backend: 'bgp',
    name: 'bird',
    operations: ['bgp-status', 'bgp-routes'],
    load: async () => (await import('./bird/companion.ts')).bird,
  },
];
