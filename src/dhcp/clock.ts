import { uptime } from 'node:os';

/** Earlier versions counted from 1970: no machine has been up for thirty years. */
const SURELY_WALL_CLOCK = 1e12;

/**
 * Milliseconds since boot: a clock that nobody sets, and that goes on while the machine sleeps, as leases do.
 */
export function now(): number {
  return Math.round(uptime() * 1000);
}

/** A time by this clock, which an earlier version may have written by the other. */
export function sinceBoot(time: number): number {
  return time > SURELY_WALL_CLOCK ? Math.max(0, time - Date.now() + now()) : time;
}
