import { background } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import { untilDone } from '../async/until-done.ts';
import type { Companions } from '../companions/companions.ts';
import type { Log } from '../log.ts';
import type { Loop } from './loop.ts';

/**
 * Milliseconds in which every node has followed a change of the backend: its agent hears of it, or is just
 * being restarted, and whatever runs beside it, as BIRD, finds its peers.
 */
const LINGER = 30_000;

export type HandoverOptions = {
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Milliseconds. Default 30 000. */
  readonly linger?: number;
};

/**
 * Make before break when the network gets another backend, which all nodes do at about the same time, but not
 * at once: for a while this node goes on to hold what the former backend needs, and its companion runs on.
 * What neither backend needs ends then, also what an agent before this one left.
 */
export class Handover {
  readonly #companions: Companions;
  readonly #loop: Loop;
  readonly #options: HandoverOptions;
  #backend: string | undefined;
  #waiting: AbortController | undefined;

  constructor(companions: Companions, loop: Loop, options: HandoverOptions) {
    this.#companions = companions;
    this.#loop = loop;
    this.#options = options;
  }

  /**
   * The network has this backend. Call it before the facts say so; when it resolves, the backend's companion
   * is there.
   */
  async follow(backend: string): Promise<void> {
    if (backend === this.#backend) return;
    const { log, signal } = this.#options;
    if (this.#backend !== undefined) {
      log.info({ from: this.#backend, to: backend }, 'the network gets another backend');
      this.#loop.keepFormer();
    }
    this.#backend = backend;
    await this.#companions.use(backend);
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    background('end the former backend', this.#end(AbortSignal.any([signal, this.#waiting.signal])), log);
  }

  async #end(signal: AbortSignal): Promise<void> {
    const { log, linger = LINGER } = this.#options;
    if (!(await pause(linger, signal))) return;
    try {
      await untilDone('end the former backend', () => this.#companions.endOthers(), { signal, log });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (!signal.aborted) this.#loop.dropFormer();
  }
}
