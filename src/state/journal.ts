import type { Log } from '../log.ts';
import { type Problem, problemText } from '../problem.ts';
import type { Change } from './item.ts';
import { changeText } from './print.ts';

const MAX_LOGGED = 20;

/** Logs what a reconciler does and finds: every problem once, until it changes. */
export class Journal {
  readonly #log: Log;
  /** As last logged. */
  #warnings: readonly Problem[] = [];
  #troubles = '';

  constructor(log: Log) {
    this.#log = log;
  }

  changed({ done, duration }: { readonly done: readonly Change[]; readonly duration: number }): void {
    if (done.length === 0) return;
    const changes = done.slice(0, MAX_LOGGED).map(changeText);
    this.#log.info({ changes, count: done.length, ms: Math.round(duration) }, 'kernel changed');
  }

  /** Owners' problems and lost claims. */
  warn(warnings: readonly Problem[]): void {
    if (warnings === this.#warnings) return;
    const known = new Set(this.#warnings.map(problemText));
    const fresh = warnings.map(problemText).filter((text) => !known.has(text));
    this.#warnings = warnings;
    if (fresh.length === 0) return;
    const shown = fresh.slice(0, MAX_LOGGED);
    this.#log.warn({ warnings: shown, count: fresh.length }, 'the network is incomplete');
  }

  /** What could not be read. */
  troubled(problems: readonly Problem[]): void {
    const troubles = problems.map(problemText);
    const text = troubles.join();
    if (text !== this.#troubles && problems.length > 0)
      this.#log.warn({ troubles }, 'part of the kernel could not be read');
    this.#troubles = text;
  }
}
