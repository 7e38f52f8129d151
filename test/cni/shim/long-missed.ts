import { utimesSync, writeFileSync } from 'node:fs';

/** As if the agent at this socket had been missed for minutes, up to now: STATUS makes no more allowances. */
export function longMissed(socket: string): void {
  const note = `${socket}.away`;
  writeFileSync(note, '');
  utimesSync(note, Date.now() / 1000, Date.now() / 1000 - 300);
}
