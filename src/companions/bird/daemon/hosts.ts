import type { BirdFiles } from './files.ts';
import { HeldBird } from './held.ts';
import type { BirdHost, BirdPlace } from './host.ts';
import { LocalBird } from './local.ts';

/** The host of the BIRD whose files these are. */
export function hostOf(files: BirdFiles, { holder, ...place }: BirdPlace): BirdHost {
  return holder === undefined ? new LocalBird(files, place) : new HeldBird(files, holder);
}
