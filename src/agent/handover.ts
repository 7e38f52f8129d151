import { EventEmitter } from 'node:events';
import { background } from '../async/background.ts';
import { pause } from '../async/pause.ts';
import { poll } from '../async/poll.ts';
import { untilDone } from '../async/until-done.ts';
import { BACKENDS } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import type { Node } from '../cluster/node.ts';
import type { Companions } from '../companions/companions.ts';
import { FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Formers } from '../store/view-file.ts';
import { Latecomers } from './latecomers.ts';
import type { Loop } from './loop.ts';

/**
 * Time every node needs to follow a change of backend, in milliseconds. It covers an agent that is just being
 * restarted, and a companion such as BIRD that must find its peers.
 */
const LINGER = 30_000;

/** The former backend receives for longer than it sends, as others may have begun a little later. */
const RECEIVE = 1.1;

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

type UsedCompanions = Pick<Companions, 'use' | 'resume' | 'endOthers'> & Partial<Pick<Companions, 'unready'>>;
type FormerKeeper = Pick<
  Loop,
  'keepFormer' | 'keepRemains' | 'dropFormerPeers' | 'dropFormer' | 'computed' | 'problem'
>;

/**
 * Make before break when the network's backend changes. Nodes do not switch at the same instant, so for a
 * while this node keeps what the former backend needs, and that backend's companion keeps running, in any
 * case until every other node has published the new backend or gone. If it changes again meanwhile, there
 * are several former ones. Then they are removed, along with anything an earlier agent left behind.
 *
 * `changed` fires when former networks have been ended.
 */
export class Handover extends EventEmitter<{ changed: [] }> {
  readonly #companions: UsedCompanions;
  readonly #loop: FormerKeeper;
  readonly #options: HandoverOptions;
  /** Those not ended yet. */
  readonly #formers = new Map<string, Network | undefined>();
  #network: Network | undefined;
  /** What an earlier agent had not ended; undefined if that is not known. */
  #remembered: Formers | undefined;
  #isComplete = false;
  #waiting: AbortController | undefined;

  constructor(companions: UsedCompanions, loop: FormerKeeper, options: HandoverOptions) {
    super();
    this.#companions = companions;
    this.#loop = loop;
    this.#options = options;
  }

  /** The former networks that have not been ended, to be remembered. */
  get formers(): Formers {
    return new Map(this.#formers);
  }

  /** Takes over what an earlier agent had not ended, once all nodes are known. */
  remember(formers: Formers): void {
    this.#remembered = formers;
  }

  /**
   * Switches to the network's backend; call it before the facts have that network. `nodes`: all nodes, as far
   * as they are known; `complete`: by the store. Resolves when the backend's companion has started. An
   * unknown backend changes nothing here: the loop reports it.
   */
  async follow(network: Network, nodes: readonly Node[] = [], complete = false): Promise<void> {
    const { log, signal } = this.#options;
    const { type } = network.backend;
    if (!BACKENDS.some((each) => each.type === type)) return;
    const former = this.#network;
    this.#network = network;
    const hasChanged = former?.backend.type !== type;
    const left = new Map(complete && !this.#isComplete ? this.#left(nodes, hasChanged) : []);
    this.#isComplete ||= complete;
    if (former && hasChanged) {
      log.info({ from: former.backend.type, to: type }, 'the network’s backend has changed');
      left.delete(former.backend.type);
      left.set(former.backend.type, former);
    }
    for (const backend of left.keys())
      if (backend === type || !BACKENDS.some((each) => each.type === backend)) left.delete(backend);
    await this.#keep(left, nodes);
    this.#formers.delete(type);
    if (!hasChanged && left.size === 0) return;
    await this.#companions.resume([...left.keys()]);
    await this.#companions.use(type);
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const waiting = AbortSignal.any([signal, this.#waiting.signal]);
    background('end the former backend', this.#endFormers(waiting), log, waiting);
  }

  /**
   * What an earlier agent left. If nothing tells, or not of what came after it, as the network has changed
   * since, a node that has another backend is a sign.
   */
  #left(nodes: readonly Node[], hasChanged: boolean): Formers {
    const left = new Map(this.#remembered);
    if (this.#remembered && !hasChanged) return left;
    for (const { backend } of nodes) if (!left.has(backend.type)) left.set(backend.type, undefined);
    return left;
  }

  async #keep(left: Formers, nodes: readonly Node[]): Promise<void> {
    const { log, signal } = this.#options;
    for (const [backend, network] of left) {
      this.#formers.set(backend, network);
      try {
        if (!network) throw new FlatnetError('no network with it is known', { code: 'NOT_FOUND' });
        // What it needs is computed as soon as the underlay is known.
        await poll(async () => this.#loop.computed, { every: POLL / 10, patience: START, signal });
        this.#loop.keepFormer(network, nodes);
      } catch (error) {
        log.warn({ backend, error: messageOf(error) }, 'the former backend keeps what the kernel has of it');
        this.#loop.keepRemains();
      }
    }
  }

  /**
   * Waits until the kernel has held the new backend's part for a while, and its companion, if that withholds
   * nodes, is ready, as its options may be wrong, and until the store has told of all nodes: one of them may
   * still use what an earlier agent had not ended.
   */
  async #endFormers(signal: AbortSignal): Promise<void> {
    const { log, linger = LINGER } = this.#options;
    const latecomers = new Latecomers(linger);
    for (let since = performance.now(); performance.now() - since < linger; ) {
      if (!(await pause(Math.min(POLL, linger), signal))) return;
      latecomers.note(this.#late);
      if (!this.#isInPlace || !this.#isComplete) since = performance.now();
    }
    for (let late = latecomers.note(this.#late); late.size > 0; late = latecomers.note(this.#late)) {
      this.#loop.dropFormerPeers(late);
      if (!(await pause(POLL, signal))) return;
    }
    const end = (options?: { readonly keepReceivers: boolean }) =>
      untilDone('end the former backend', () => this.#companions.endOthers(options), { signal, log });
    await end({ keepReceivers: true });
    this.#loop.dropFormerPeers(new Map());
    // Slower nodes may still be sending.
    if (!(await pause(RECEIVE * linger, signal))) return;
    this.#formers.clear();
    this.#loop.dropFormer();
    await end();
    this.emit('changed');
  }

  /**
   * The peers that still use a former backend, and which: their agents are down, and what they hold sends and
   * receives through nothing else. By type alone, as nodes do not publish all their options: one that has
   * others is waited for in vain, which costs no packet.
   */
  get #late(): ReadonlyMap<string, string> {
    const { self, peers = [] } = this.#loop.computed?.facts ?? {};
    const late = peers.filter(
      ({ name, backend }) => this.#formers.has(backend.type) && name !== self?.node.name,
    );
    return new Map(late.map(({ name, backend }) => [name, backend.type]));
  }

  get #isInPlace(): boolean {
    const { computed } = this.#loop;
    const problem = this.#loop.problem ?? this.#companions.unready;
    return problem === undefined && computed?.facts.network.backend.type === this.#network?.backend.type;
  }
}
