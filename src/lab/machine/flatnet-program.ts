import { resolve } from 'node:path';

/** The command line that runs this flatnet again: `bin/flatnet` ends in exec, so its pid is the program's. */
export function flatnetProgram(...args: string[]): string[] {
  return [resolve(import.meta.dirname, '../../../bin/flatnet'), ...args];
}
