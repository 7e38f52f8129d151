import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeFacts } from '../../cluster/node.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Log } from '../../log.ts';
import { Backoff } from '../backoff.ts';
import type { Kv } from '../kv/kv.ts';
import type { Claim } from '../ports/store.ts';
import { ClusterState } from './cluster-state.ts';
import type { Feed } from './feed.ts';
import { checkHolding, type Holding, keysOf, writeHolding } from './holding.ts';
import type { Layout } from './layout.ts';

/** Seconds before its end at which a lease is renewed: flannel's `--subnet-lease-renew-margin`. */
const RENEW_MARGIN = 3600;
/** Milliseconds: Node's timers go no further. */
const LONGEST_TIMER = 2 ** 31 - 1;
const MAX_RACES = 20;

export type ClaimContext = {
  readonly kv: Kv;
  readonly layout: Layout;
  readonly feed: Feed;
  readonly log: Log;
  /** Seconds. */
  readonly ttl: number;
  /** Stops the claim. */
  readonly signal: AbortSignal;
};

/** A node's hold on its subnets: renews the lease, writes again what is missing, answers for the node's name. */
export class LeaseClaim implements Claim {
  readonly lost: Promise<never>;
  readonly #context: ClaimContext;
  readonly #fail: (error: unknown) => void;
  readonly #addresses = new Set<Ip>();
  readonly #stopped = new AbortController();
  readonly #unfollow: () => void;
  #holding: Holding;
  /** What the store should say of it. */
  #keys: ReadonlyMap<string, string>;
  #lease: string;
  /** The store's revision of our last write: news from before it tell us nothing. */
  #written: number;
  /** Writes happen one after another. */
  #queue: Promise<unknown> = Promise.resolve();
  #repairing = false;

  constructor(context: ClaimContext, holding: Holding, lease: string, revision: number) {
    this.#context = context;
    this.#holding = holding;
    this.#keys = keysOf(context.layout, holding);
    this.#lease = lease;
    this.#written = revision;
    this.#remember(holding.self);
    const { promise, reject } = Promise.withResolvers<never>();
    this.lost = promise;
    this.#fail = reject;
    // Who does not ask for it must not crash by it.
    promise.catch(() => {});
    this.#unfollow = context.feed.follow(() => this.#onNews());
    context.signal.addEventListener('abort', () => this.stop(), { once: true, signal: this.#stopped.signal });
    void this.#renew();
  }

  get subnets(): readonly Cidr[] {
    return this.#holding.subnets;
  }

  async publish(self: NodeFacts): Promise<void> {
    if (self.name !== this.#holding.self.name) {
      throw new FlatnetError(`'${self.name}' is another node`, { code: 'USAGE', operation: 'lease publish' });
    }
    this.#remember(self);
    this.#holding = { ...this.#holding, self };
    this.#keys = keysOf(this.#context.layout, this.#holding);
    await this.#enqueue(() => this.#write());
  }

  stop(): void {
    this.#stopped.abort();
    this.#unfollow();
  }

  async release(): Promise<void> {
    this.stop();
    await this.#enqueue(() => this.#context.kv.revoke(this.#lease));
  }

  #onNews(): void {
    const { layout, feed } = this.#context;
    const challenge = feed.state.item(layout.challenge(this.#holding.self.name));
    if (challenge && challenge.value !== this.#holding.instance) void this.#answer(challenge.key);
    const isNewer = feed.state.revision >= this.#written;
    if (feed.doubtful || (isNewer && !this.#isWritten(feed.state))) void this.#repair();
  }

  /** Somebody else wants this node's name and asks whether its agent lives: taking the question away says yes. */
  async #answer(challenge: string): Promise<void> {
    const { kv, log } = this.#context;
    log.warn({ node: this.#holding.self.name }, 'another machine wants to be this node');
    await kv.delete(challenge).catch((error: unknown) => {
      log.warn({ challenge, problem: messageOf(error) }, 'cannot answer for the node name');
    });
  }

  /** Makes the store say what we hold, as soon as it can be reached. */
  async #repair(): Promise<void> {
    if (this.#repairing) return;
    this.#repairing = true;
    try {
      await this.#persist(() => this.#enqueue(() => this.#write()));
    } finally {
      this.#repairing = false;
    }
  }

  async #renew(): Promise<void> {
    const { kv, log, ttl } = this.#context;
    const wait = Math.min((ttl - Math.min(RENEW_MARGIN, (ttl * 2) / 3)) * 1000, LONGEST_TIMER);
    while (!this.#stopped.signal.aborted) {
      await sleep(wait, undefined, { signal: this.#stopped.signal }).catch(() => {});
      if (this.#stopped.signal.aborted) return;
      await this.#persist(async () => {
        if ((await kv.keepAlive(this.#lease)) > 0) return;
        log.warn({ lease: this.#lease }, 'the lease ran out; taking the subnets again');
        await this.#enqueue(() => this.#write());
      });
    }
  }

  /** Tries until it succeeds, the subnets are lost, or the claim is stopped. */
  async #persist(work: () => Promise<void>): Promise<void> {
    const backoff = new Backoff();
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        await work();
        return;
      } catch (error) {
        if (signal.aborted || codeOf(error) === 'LEASE_LOST') return;
        this.#context.log.warn({ problem: messageOf(error) }, 'cannot renew the lease yet');
        await backoff.wait(signal).catch(() => {});
      }
    }
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }

  /** Compares the store with what we hold and writes the difference. */
  async #write(): Promise<void> {
    const { kv, layout, ttl } = this.#context;
    for (let race = 0; race < MAX_RACES; race++) {
      const state = await readState(kv, layout);
      this.#check(state);
      if (this.#isWritten(state)) {
        this.#written = state.revision;
        return;
      }
      try {
        const result = await kv.txn(writeHolding(layout, state, this.#holding, [], this.#lease));
        if (!result.succeeded) continue;
        this.#written = result.revision;
        return;
      } catch (error) {
        if (codeOf(error) !== 'NOT_FOUND') throw error;
        this.#lease = (await kv.grant(ttl)).id;
      }
    }
    throw lostRaces(MAX_RACES);
  }

  #isWritten(state: ClusterState): boolean {
    return [...this.#keys].every(([key, value]) => state.item(key)?.value === value);
  }

  #check(state: ClusterState): void {
    try {
      checkHolding(state, this.#holding, this.#addresses);
    } catch (error) {
      this.stop();
      this.#fail(error);
      throw error;
    }
  }

  #remember({ addresses }: NodeFacts): void {
    for (const ip of Object.values(addresses)) this.#addresses.add(ip);
  }
}

/** The network's keys at this moment. What cannot be read has been reported by the feed already. */
export async function readState(kv: Kv, layout: Layout): Promise<ClusterState> {
  const state = new ClusterState(layout, () => {});
  for (const range of layout.watched) {
    const { items, revision } = await kv.list(range);
    state.reset(items, revision, range);
  }
  return state;
}

export function lostRaces(count: number): FlatnetError {
  return new FlatnetError(`lost ${count} races against other nodes`, {
    code: 'STORE_CONFLICT',
    operation: 'lease write',
    fix: 'try again',
  });
}
