import { background } from '../../async/background.ts';
import { Queue } from '../../async/queue.ts';
import { codeOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { KubernetesClient } from '../api/client.ts';
import { Allowance } from './allowance.ts';
import {
  EVENTS,
  eventNamespace,
  eventObject,
  type Happening,
  happeningKey,
  type Reporter,
  repetition,
} from './event.ts';

export type RecorderOptions = {
  readonly client: KubernetesClient;
  readonly reporter: Reporter;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Events at once; 20 by default. */
  readonly burst?: number;
  /** Milliseconds in which one more becomes possible; 60 000 by default. */
  readonly interval?: number;
  /** Milliseconds between two reports of the same happening; 300 000 by default. */
  readonly repeat?: number;
};

/** What was last said about a happening. */
type Report = {
  /** Of the Event object; undefined until the server has named it. */
  name: string | undefined;
  count: number;
  /** `performance.now()` of the last write. */
  at: number;
};

/** How many happenings are remembered, and how many writes may wait. */
const [REMEMBERED, WAITING] = [256, 32];

/**
 * Writes Events. The same happening again is counted in its Event, and written now and then; the rest is
 * limited in rate. Nothing depends on an Event, so that one too many, or one that cannot be written, is only
 * logged. RBAC: create and patch on events of events.k8s.io.
 */
export class EventRecorder {
  readonly #options: RecorderOptions;
  readonly #allowance: Allowance;
  readonly #queue = new Queue();
  readonly #reports = new Map<string, Report>();
  #unsaid = 0;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#allowance = new Allowance(options.burst ?? 20, options.interval ?? 60_000);
  }

  /** How many happenings were left unsaid. */
  get unsaid(): number {
    return this.#unsaid;
  }

  /** Returns at once. */
  record(happening: Happening): void {
    const { log, signal, repeat = 300_000 } = this.#options;
    const key = happeningKey(happening);
    const report = this.#reports.get(key);
    if (report) {
      report.count++;
      this.#remember(key, report);
      if (performance.now() - report.at < repeat) return;
    }
    if (this.#queue.length >= WAITING || !this.#allowance.take()) {
      this.#unsaid++;
      log.debug({ reason: happening.reason, unsaid: this.#unsaid }, 'too many events');
      return;
    }
    const next = report ?? { name: undefined, count: 1, at: 0 };
    next.at = performance.now();
    this.#remember(key, next);
    background(
      'writing an event',
      this.#queue.run(() => this.#write(happening, next), signal),
      log,
      signal,
    );
  }

  /** Resolves when nothing is waiting to be written. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }

  async #write(happening: Happening, report: Report): Promise<void> {
    const { client, reporter, signal } = this.#options;
    const now = new Date();
    if (report.name !== undefined && report.count > 1) {
      const at = { name: report.name, namespace: eventNamespace(happening) };
      try {
        await client.patch(EVENTS, at, 'merge', repetition(report.count, now), { signal });
        return;
      } catch (error) {
        // The server forgets events after an hour.
        if (codeOf(error) !== 'NOT_FOUND') throw error;
        report.count = 1;
      }
    }
    const stored = await client.create(EVENTS, eventObject(happening, reporter, now), { signal });
    report.name = stored.metadata.name;
  }

  /** Forgets what has not happened for longest. */
  #remember(key: string, report: Report): void {
    this.#reports.delete(key);
    this.#reports.set(key, report);
    const [oldest] = this.#reports.keys();
    if (this.#reports.size > REMEMBERED && oldest !== undefined) this.#reports.delete(oldest);
  }
}
