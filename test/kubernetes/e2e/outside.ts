import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { ControlPlane } from '../nodes/control-plane.ts';

/** Runs upstream's cases outside the pod network, and returns their exit status. `signal` ends them. */
export async function runOutside(
  plane: ControlPlane,
  argv: readonly string[],
  log: string,
  signal: AbortSignal,
): Promise<number | null> {
  console.log(`e2e: running the cases; what they say: ${log}`);
  const file = openSync(log, 'w');
  const enter = ['--pdeathsig=KILL', 'ip', 'netns', 'exec', plane.netns];
  // In a group of its own: all of its processes want the signal, but once, or they do not clean up.
  const child = spawn('setpriv', [...enter, ...argv], { stdio: ['ignore', file, file], detached: true });
  closeSync(file);
  signal.addEventListener('abort', () => child.pid !== undefined && process.kill(-child.pid, 'SIGINT'));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}
