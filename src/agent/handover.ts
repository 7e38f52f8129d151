import { background } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import { untilDone } from '../async/until-done.ts';
import { BACKENDS } from '../backends/registry.ts';
import type { Companions } from '../companions/companions.ts';
import type { Log } from '../log.ts';
import type { Loop } from './loop.ts';

/**
 * Milliseconds in which every node has followed a change of the backend: its agent hears of it, or is just
 * being restarted, and whatever runs beside it, as BIRD, finds its peers.
 */
const LINGER = 30_000;

/** Milliseconds between looks whether the kernel holds the new backend's part. */
const POLL = 500;

export type HandoverOptions = {
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Milliseconds. Default 30 000. */
  readonly linger?: number;
};

type FormerKeeper = Pick<Loop, 'keepFormer' | 'dropFormerPeers' | 'dropFormer' | 'computed' | 'problem'>;

/**
 * Make before break when the network gets another backend, which all nodes do at about the same time, but not
 * at once: for a while this node goes on to hold what the former backend needs, and its companion runs on.
 * What neither backend needs ends then, also what an agent before this one left.
 */
export class Handover {
  readonly #companions: Pick<Companions, 'use' | 'endOthers'>;
  readonly #loop: FormerKeeper;
  readonly #options: HandoverOptions;
  #backend: string | undefined;
  #waiting: AbortController | undefined;

  constructor(
    companions: Pick<Companions, 'use' | 'endOthers'>,
    loop: FormerKeeper,
    options: HandoverOptions,
  ) {
    this.#companions = companions;
    this.#loop = loop;
    this.#options = options;
  }

  /**
   * The network has this backend. Call it before the facts say so; when it resolves, the backend's companion
   * is there. A backend that does not exist changes nothing: the loop reports it.
   */
  async follow(backend: string): Promise<void> {
    if (backend === this.#backend || !BACKENDS.some(({ type }) => type === backend)) return;
    const { log, signal } = this.#options;
    if (this.#backend !== undefined) {
      log.info({ from: this.#backend, to: backend }, 'the network gets another backend');
      this.#loop.keepFormer();
    }
    this.#backend = backend;
    await this.#companions.use(backend);
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const waiting = AbortSignal.any([signal, this.#waiting.signal]);
    background('end the former backend', this.#endFormer(waiting), log, waiting);
  }

  /** Not before the kernel has held the new backend's part for a while: its options may be wrong. */
  async #endFormer(signal: AbortSignal): Promise<void> {
    const { log, linger = LINGER } = this.#options;
    do {
      while (!this.#stands) if (!(await pause(POLL, signal))) return;
      if (!(await pause(linger, signal))) return;
    } while (!this.#stands);
    await untilDone('end the former backend', () => this.#companions.endOthers(), { signal, log });
    this.#loop.dropFormerPeers();
    // Others may still send for as long as they may have been slower to begin.
    if (await pause(linger, signal)) this.#loop.dropFormer();
  }

  get #stands(): boolean {
    const { computed, problem } = this.#loop;
    return problem === undefined && computed?.facts.network.backend.type === this.#backend;
  }
}
