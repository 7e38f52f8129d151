import { mock } from 'node:test';
import type { Log } from '../../src/log.ts';

/**
 * Runs `scenario` on fake timers. `advance` lets that many milliseconds pass, one at a time, and settles all
 * promises after each.
 */
export async function onFakeTime<T>(
  scenario: (advance: (ms: number) => Promise<void>) => Promise<T>,
): Promise<T> {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    return await scenario(async (ms) => {
      await settled();
      for (let i = 0; i < ms; i++) {
        mock.timers.tick(1);
        await settled();
      }
    });
  } finally {
    mock.timers.reset();
  }
}

/** Resolves when all promises that can settle have settled. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A log that keeps its lines. */
export function recorder(): { readonly log: Log; readonly lines: { level: string; fields: object }[] } {
  const lines: { level: string; fields: object }[] = [];
  const at = (level: string) => (fields: object) => void lines.push({ level, fields });
  return { log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }, lines };
}
