import { pino } from 'pino';
import type { Log } from '../../log.ts';

/** JSON lines on standard output, unbuffered: the last lines before a crash must not be lost. */
export function processLog(level: string): Log {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 1, sync: true }),
  );
}

/** Aborts on the first SIGTERM or SIGINT; the second kills the process. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.once(name, () => controller.abort(new Error(`stopped by ${name}`)));
  }
  return controller.signal;
}
