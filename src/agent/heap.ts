import { flushCompileCache } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { pause } from '../async/pause.ts';
import { trimHeap } from '../linux/sys.ts';

/** Delay after which objects that only the start needed are garbage, in milliseconds. */
const SETTLED = 5000;

/**
 * Lifts the heap's growth limit while the agent starts; `settle` restores it (`bin/flatnet` has the figures).
 * With 5,000 peers the start is when most garbage is made, and a heap that may grow by only 40 % is collected
 * seven times on the way up: a quarter of the start's duration (docs/benchmarks.md). V8 reads the flag at
 * each collection.
 */
export function growFreely(): void {
  if (GROWTH !== undefined) setFlagsFromString(`${NAME}=0`);
}

/**
 * Restores the growth limit some time after the start, collects garbage, and takes the space for new objects
 * back to its smallest size, where it stays: only the start fills it with objects that last. Free memory of
 * libc goes back to the kernel. Also flushes Node's compile cache: Node itself does so only at an orderly
 * exit, and a start after a crash should be just as fast.
 */
export async function settle(signal: AbortSignal): Promise<void> {
  if (!(await pause(SETTLED, signal))) return;
  flushCompileCache();
  if (GROWTH === undefined) return;
  setFlagsFromString(GROWTH);
  setFlagsFromString('--semi-space-growth-factor=1');
  // The last collection set the threshold of the next one while the heap was still full of the start's
  // garbage. Only the last resort shrinks the space for new objects.
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  // The list of a large cluster was unpacked outside V8's heap. 45 MB of 200 at 5,000 Nodes.
  trimHeap();
}

const NAME = '--heap-growing-percent';

/** The flag this process was started with. */
const GROWTH = process.execArgv.find((flag) => flag.startsWith(`${NAME}=`));
