import { Alarm } from '../state/alarm.ts';
import type { PodsChange } from './pods.ts';

/** Milliseconds between two computations for facts that keep changing: peers and pods come in bursts. */
const SPACING = 10;
/** Longer for pods: new ones have been admitted already, and nobody waits for deleted ones' items to go. */
const POD_SPACING = 50;
/**
 * How many times as long as it took the agent rests from a computation at least: it is also to answer, and to
 * hear of its leases, where facts that take long to compute change all the time.
 */
const REST = 2;

/**
 * When the desired state is computed again: once for all changes of a turn of the event loop, after its
 * answers, or of a burst.
 */
export class Recomputation {
  readonly #compute: () => void;
  readonly #alarm = new Alarm(() => this.#computeIfDue());
  #isDue = false;
  /** Whether all that is due are new pods, which have been admitted on their own: a run needs no others. */
  #onlyNewPods = true;
  /** When the last computation ended, by `performance.now`, and how long the agent rests from it. */
  #computedAt = Number.NEGATIVE_INFINITY;
  #rest = 0;
  #awaited: PromiseWithResolvers<void> | undefined;

  constructor(compute: () => void) {
    this.#compute = compute;
  }

  /** Facts have changed. */
  request(): void {
    this.#onlyNewPods = false;
    this.#schedule(SPACING);
  }

  /** Only pods have. */
  requestForPods(what: PodsChange): void {
    if (what === 'removed') this.#onlyNewPods = false;
    this.#schedule(POD_SPACING);
  }

  /** A run is about to begin: what it has to know is computed now, unless that has just taken long. */
  catchUp(): void {
    if (this.#mustBeKnown && !this.#isResting) this.#computeIfDue();
  }

  /** Resolves once a run has nothing to know that is not computed, or will catch up on it. */
  async settled(): Promise<void> {
    if (this.#mustBeKnown && this.#isResting) await this.#computation();
  }

  /** Resolves after a computation that knows all that is known now; who asks at the same time shares it. */
  next(): Promise<void> {
    this.request();
    return this.#computation();
  }

  stop(): void {
    this.#alarm.stop();
  }

  get #mustBeKnown(): boolean {
    return this.#isDue && !this.#onlyNewPods;
  }

  /** Cheap computations need no rest but the spacing, which runs may ignore. */
  get #isResting(): boolean {
    return this.#rest > SPACING && performance.now() < this.#computedAt + this.#rest;
  }

  #computation(): Promise<void> {
    this.#awaited ??= Promise.withResolvers();
    return this.#awaited.promise;
  }

  #schedule(spacing: number): void {
    this.#isDue = true;
    const due = this.#computedAt + Math.max(spacing, this.#rest);
    this.#alarm.set(Math.max(0, due - performance.now()));
  }

  #computeIfDue(): void {
    if (!this.#isDue) return;
    this.#isDue = false;
    this.#onlyNewPods = true;
    const awaited = this.#awaited;
    this.#awaited = undefined;
    const begun = performance.now();
    this.#compute();
    this.#computedAt = performance.now();
    this.#rest = REST * (this.#computedAt - begun);
    awaited?.resolve();
  }
}
