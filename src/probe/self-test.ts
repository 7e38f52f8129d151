import { randomInt } from 'node:crypto';
import { forEachLimited } from '../async/each.ts';
import { pause } from '../async/pause.ts';
import type { Node } from '../cluster/node.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Problem } from '../problem.ts';
import { judge, untested } from './judge.ts';
import { Pinger } from './pinger.ts';
import { gather } from './probe.ts';
import { isBroken, type PathReport } from './report.ts';
import { type PathSummary, Rounds } from './rounds.ts';
import { type ProbeFacts, targetsTo } from './target.ts';

/** Milliseconds between rounds, and peers in each: a cluster of thousands of nodes hears little of it. */
const INTERVAL = 30_000;
const PEERS_AT_ONCE = 5;
/** Packets of each size: to see whether all is well, and to be sure that it is not. */
const FEW = 3;
const MANY = 10;
/** Peers in one answer. */
const LARGEST_PAGE = 16;

export type SelfTestFacts = ProbeFacts & { readonly peers: readonly Node[] };

/** Some of the peers' reports, and how many peers there are. */
export type ProbePage = {
  readonly total: number;
  readonly reports: readonly PathReport[];
  /** The network is not known yet, and so neither are the peers. */
  readonly isEarly?: boolean;
};

/**
 * Tests the ways from this node to its peers' pods: a few now and then, and those it is asked for. `facts`:
 * undefined while the network is not known.
 */
export class SelfTest {
  readonly #facts: () => SelfTestFacts | undefined;
  readonly #log: Log;
  readonly #signal: AbortSignal | undefined;
  readonly #rounds = new Rounds(PEERS_AT_ONCE);
  #failure = '';

  /** `signal`: ends all probes. */
  constructor(facts: () => SelfTestFacts | undefined, log: Log, signal?: AbortSignal) {
    this.#signal = signal;
    this.#facts = facts;
    this.#log = log;
  }

  /** What has been wrong for several rounds. */
  get problems(): readonly Problem[] {
    return this.#rounds.problems;
  }

  get summary(): PathSummary {
    return this.#rounds.summary;
  }

  /**
   * Probes `limit` peers thoroughly, in the order of their names after the first `skip`. Throws SYSCALL
   * without CAP_NET_RAW.
   */
  async page(skip: number, limit: number): Promise<ProbePage> {
    const facts = this.#facts();
    if (!facts) return { total: 0, reports: [], isEarly: true };
    const peers = peersOf(facts);
    const chosen = peers.slice(skip, skip + Math.min(limit, LARGEST_PAGE));
    if (chosen.length === 0) return { total: peers.length, reports: [] };
    const reports = await this.#pinging((pinger) =>
      Promise.all(chosen.map((peer) => reportsOn(pinger, peer, facts, MANY))),
    );
    return { total: peers.length, reports: reports.flat() };
  }

  /** Goes round until the signal aborts. */
  async run(): Promise<void> {
    const signal = this.#signal;
    // Agents that start together, such as in an upgrade, do not test together.
    await pause(randomInt(INTERVAL), signal);
    while (await pause(INTERVAL, signal)) {
      const facts = this.#facts();
      if (!facts) continue;
      await this.#round(facts).then(
        () => {
          this.#failure = '';
        },
        (error: unknown) => this.#failed(messageOf(error)),
      );
    }
  }

  async #round(facts: SelfTestFacts): Promise<void> {
    const peers = new Map(peersOf(facts).map((peer) => [peer.name, peer]));
    const chosen = this.#rounds.next([...peers.keys()]);
    if (chosen.length === 0) return;
    await this.#pinging((pinger) =>
      forEachLimited(2 * PEERS_AT_ONCE, chosen, async (name) => {
        const peer = peers.get(name);
        if (!peer) return;
        const quick = await reportsOn(pinger, peer, facts, FEW);
        const isDoubtful = quick.some((report) => isBroken(report) || (report.loss ?? 0) > 0);
        const reports = isDoubtful ? await reportsOn(pinger, peer, facts, MANY) : quick;
        if (!this.#signal?.aborted) this.#rounds.note(name, reports);
      }),
    );
  }

  async #pinging<T>(work: (pinger: Pinger) => Promise<T>): Promise<T> {
    using pinger = new Pinger();
    const stop = (): void => pinger[Symbol.dispose]();
    this.#signal?.addEventListener('abort', stop, { once: true });
    try {
      return await work(pinger);
    } finally {
      this.#signal?.removeEventListener('abort', stop);
    }
  }

  /** The node works without this; without the capability NET_RAW, every round fails. */
  #failed(error: string): void {
    if (error !== this.#failure) this.#log.warn({ error }, 'the ways to peers cannot be tested');
    this.#failure = error;
  }
}

function peersOf({ peers, self }: SelfTestFacts): readonly Node[] {
  const others = peers.filter(({ name }) => name !== self.node.name);
  return others.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

function reportsOn(
  pinger: Pinger,
  peer: Node,
  facts: ProbeFacts,
  count: number,
): Promise<readonly PathReport[]> {
  const all = targetsTo(peer, facts);
  return Promise.all(
    all.map(async (target) =>
      'why' in target ? untested(target) : judge(target, await gather(pinger, target, count)),
    ),
  );
}
