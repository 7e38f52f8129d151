import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { pause } from '../async/pause.ts';

/** Milliseconds after which what only the start needed is garbage. */
const SETTLED = 5000;

/**
 * Lets the heap grow as it likes while the agent starts, and keeps it small from then on (`bin/flatnet` has
 * the figure). With 5,000 peers a start makes garbage faster than at any other time, and a heap that may grow
 * by 40 % only is collected seven times on the way up: a quarter of all the time a start takes
 * (docs/benchmarks.md). V8 reads the flag with each collection.
 */
export function growFreely(): void {
  if (GROWTH !== undefined) setFlagsFromString(`${NAME}=0`);
}

/** Some time after the start is over. */
export async function settle(signal: AbortSignal): Promise<void> {
  if (GROWTH === undefined || !(await pause(SETTLED, signal))) return;
  setFlagsFromString(GROWTH);
  // The limit for the next collection was set by the last one, when the heap was full of what the start has
  // left.
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect();
}

const NAME = '--heap-growing-percent';

/** The flag as this process was started with it. */
const GROWTH = process.execArgv.find((flag) => flag.startsWith(`${NAME}=`));
