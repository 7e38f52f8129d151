import { bird } from './bird/companion.ts';
import type { CompanionKind } from './companion.ts';

/** Every kind of companion there is; a backend that is not named here needs none. */
export const COMPANIONS: readonly CompanionKind[] = [bird];
