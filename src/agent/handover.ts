import { background } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import { poll } from '../async/poll.ts';
import { untilDone } from '../async/until-done.ts';
import { BACKENDS } from '../backends/registry.ts';
import type { Node } from '../cluster/node.ts';
import type { Companions } from '../companions/companions.ts';
import type { Log } from '../log.ts';
import type { Loop } from './loop.ts';

/**
 * Time every node needs to follow a change of backend, in milliseconds. It covers an agent that is just being
 * restarted, and a companion such as BIRD that must find its peers.
 */
const LINGER = 30_000;

/** Longest wait for the underlay after a start, in milliseconds. */
const START = 5000;

/** Interval between checks that the kernel holds the new backend's part, in milliseconds. */
const POLL = 500;

export type HandoverOptions = {
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Milliseconds. Default 30 000. */
  readonly linger?: number;
};

type FormerKeeper = Pick<Loop, 'keepFormer' | 'dropFormerPeers' | 'dropFormer' | 'computed' | 'problem'>;

/**
 * Make before break when the network's backend changes. Nodes do not switch at the same instant, so for a
 * while this node keeps what the former backend needs, and that backend's companion keeps running, in any
 * case until every other node has published the new backend or gone. If it changes again meanwhile, there
 * are several former ones. Then they are removed, along with anything an earlier agent left behind.
 */
export class Handover {
  readonly #companions: Pick<Companions, 'use' | 'endOthers'>;
  readonly #loop: FormerKeeper;
  readonly #options: HandoverOptions;
  /** Those not ended yet. */
  readonly #formers = new Set<string>();
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
   * Switches to the network's backend; call it before the facts name that backend. `nodes`: all nodes, as far
   * as they are known. Resolves when the backend's companion has started. An unknown backend changes nothing
   * here: the loop reports it.
   */
  async follow(backend: string, nodes: readonly Node[] = []): Promise<void> {
    if (backend === this.#backend || !BACKENDS.some(({ type }) => type === backend)) return;
    const { log, signal } = this.#options;
    if (this.#backend !== undefined) {
      log.info({ from: this.#backend, to: backend }, 'the network’s backend has changed');
      // An agent that has just started knows the former backend from the view it saved; what that needs is
      // computed as soon as the underlay is known.
      await poll(async () => this.#loop.computed, { every: POLL / 10, patience: START, signal });
      this.#loop.keepFormer(nodes);
    }
    if (this.#backend !== undefined) this.#formers.add(this.#backend);
    this.#formers.delete(backend);
    this.#backend = backend;
    await this.#companions.use(backend);
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const waiting = AbortSignal.any([signal, this.#waiting.signal]);
    background('end the former backend', this.#endFormers(waiting), log, waiting);
  }

  /** Waits until the kernel has held the new backend's part for a while: its options may be wrong. */
  async #endFormers(signal: AbortSignal): Promise<void> {
    const { log, linger = LINGER } = this.#options;
    do {
      while (!this.#isInPlace) if (!(await pause(POLL, signal))) return;
      if (!(await pause(linger, signal))) return;
    } while (!this.#isInPlace);
    for (let late = this.#late; late.size > 0; late = this.#late) {
      this.#loop.dropFormerPeers(late);
      if (!(await pause(POLL, signal))) return;
    }
    await untilDone('end the former backend', () => this.#companions.endOthers(), { signal, log });
    this.#loop.dropFormerPeers(new Map());
    // Slower nodes may still be sending.
    if (!(await pause(linger, signal))) return;
    this.#formers.clear();
    this.#loop.dropFormer();
  }

  /**
   * The peers that still use a former backend, and which: their agents are down, and what they hold sends and
   * receives through nothing else.
   */
  get #late(): ReadonlyMap<string, string> {
    const { self, peers = [] } = this.#loop.computed?.facts ?? {};
    const late = peers.filter(
      ({ name, backend }) => this.#formers.has(backend.type) && name !== self?.node.name,
    );
    return new Map(late.map(({ name, backend }) => [name, backend.type]));
  }

  get #isInPlace(): boolean {
    const { computed, problem } = this.#loop;
    return problem === undefined && computed?.facts.network.backend.type === this.#backend;
  }
}
