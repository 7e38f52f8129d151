import { readFileSync } from 'node:fs';
import { codeOf } from '../../error.ts';

/**
 * The end of a log, without empty lines; a line of JSON is reduced to its message. Empty when there is none.
 */
export function lastLines(path: string, count: number): string {
  try {
    const lines = readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
    return lines.slice(-count).map(plain).join('\n');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** pino's line as a person reads it. */
function plain(line: string): string {
  try {
    const { msg, error, err, problem } = JSON.parse(line);
    return [msg, problem, error ?? err?.message].filter(Boolean).join(': ') || line;
  } catch {
    return line;
  }
}
