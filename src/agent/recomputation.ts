import { Alarm } from '../state/alarm.ts';
import type { PodsChange } from './pods.ts';

/** Milliseconds between two computations for facts that keep changing: peers and pods come in bursts. */
const SPACING = 10;
/** Longer for pods: new ones have been admitted already, and nobody waits for deleted ones' items to go. */
const POD_SPACING = 50;

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
  /** When the last computation ended, by `performance.now`. */
  #computedAt = Number.NEGATIVE_INFINITY;
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

  /** A run is about to begin: what it has to know is computed now. */
  catchUp(): void {
    if (!this.#onlyNewPods) this.#computeIfDue();
  }

  /** Resolves after a computation that knows all that is known now; who asks at the same time shares it. */
  next(): Promise<void> {
    this.#awaited ??= Promise.withResolvers();
    const { promise } = this.#awaited;
    this.request();
    return promise;
  }

  stop(): void {
    this.#alarm.stop();
  }

  #schedule(spacing: number): void {
    this.#isDue = true;
    this.#alarm.set(Math.max(0, this.#computedAt + spacing - performance.now()));
  }

  #computeIfDue(): void {
    if (!this.#isDue) return;
    this.#isDue = false;
    this.#onlyNewPods = true;
    const awaited = this.#awaited;
    this.#awaited = undefined;
    this.#compute();
    this.#computedAt = performance.now();
    awaited?.resolve();
  }
}
