import { background } from '../../async/background.ts';
import { pause } from '../../async/pause.ts';
import { Queue } from '../../async/queue.ts';
import { untilDone } from '../../async/until-done.ts';
import type { NodeFacts } from '../../cluster/node.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { Log } from '../../log.ts';
import type { Kv } from '../kv/kv.ts';
import type { Claim, Renewal } from '../ports/membership.ts';
import type { CheckNetwork } from '../ports/network.ts';
import { ClusterState } from './cluster-state.ts';
import type { EtcdFeed } from './feed.ts';
import { checkHolding, type Holding, keysOf, writeHolding } from './holding.ts';
import type { Layout } from './layout.ts';

/** Seconds before expiry at which a lease is renewed: flannel's `--subnet-lease-renew-margin`. */
const RENEW_MARGIN = 3600;
/** Maximum delay of Node.js timers, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;
const MAX_RACES = 20;

export type ClaimContext = {
  readonly kv: Kv;
  readonly layout: Layout;
  readonly feed: EtcdFeed;
  readonly log: Log;
  readonly check: CheckNetwork;
  /** Seconds. */
  readonly ttl: number;
  /** Stops the claim. */
  readonly signal: AbortSignal;
};

/** A node's claim to its subnets: renews the lease, restores deleted keys, answers challenges to its name. */
export class LeaseClaim implements Claim {
  readonly lost: Promise<never>;
  readonly #context: ClaimContext;
  readonly #fail: (error: unknown) => void;
  readonly #addresses = new Set<Ip>();
  readonly #stopped = new AbortController();
  readonly #unfollow: () => void;
  #holding: Holding;
  /** The keys and values the store should have. */
  #keys: ReadonlyMap<string, string>;
  #lease: string;
  /** Store revision of our last write: older states are irrelevant. */
  #written: number;
  /** Of the feed, when we last looked. */
  #listings: number;
  readonly #writes = new Queue();
  #renewal: Renewal;
  /** What keeps failing, and why. */
  readonly #failing = new Map<string, string>();
  #repairing = false;

  /** `requested`: when the lease was requested. `revision`: of the write. */
  constructor(context: ClaimContext, holding: Holding, lease: string, requested: Date, revision: number) {
    this.#context = context;
    this.#holding = holding;
    this.#keys = keysOf(context.layout, holding);
    this.#lease = lease;
    this.#written = revision;
    this.#listings = context.feed.listings;
    this.#renewal = this.#renewedAt(requested);
    this.#addAddresses(holding.self);
    const { promise, reject } = Promise.withResolvers<never>();
    this.lost = promise;
    this.#fail = reject;
    // Callers need not handle the rejection.
    promise.catch(() => {});
    this.#unfollow = context.feed.follow(() => this.#onChange());
    context.signal.addEventListener('abort', () => this.stop(), { once: true, signal: this.#stopped.signal });
    this.#runInBackground('renew the lease', this.#renew());
  }

  get subnets(): readonly Cidr[] {
    return this.#holding.subnets;
  }

  get renewal(): Renewal {
    const [problem] = this.#failing.values();
    return { ...this.#renewal, ...(problem !== undefined && { problem }) };
  }

  async publish(self: NodeFacts): Promise<void> {
    if (self.name !== this.#holding.self.name) {
      throw new FlatnetError(`'${self.name}' is another node`, { code: 'USAGE', operation: 'lease publish' });
    }
    this.#addAddresses(self);
    this.#holding = { ...this.#holding, self };
    this.#keys = keysOf(this.#context.layout, this.#holding);
    await this.#writes.run(() => this.#write());
  }

  stop(): void {
    this.#stopped.abort();
    this.#unfollow();
  }

  async release(): Promise<void> {
    this.stop();
    await this.#writes.run(() => this.#context.kv.revoke(this.#lease));
  }

  #onChange(): void {
    const { kv, layout, feed, log } = this.#context;
    const challenge = feed.state.item(layout.challenge(this.#holding.self.name));
    if (challenge && challenge.value !== this.#holding.instance) {
      log.warn({ node: this.#holding.self.name }, 'another machine claims the name of this node');
      // Deleting the challenge answers it: this agent is alive.
      this.#runInBackground('answer for the node name', kv.delete(challenge.key));
    }
    // A list may come from a store that took the other's place, with revisions of its own.
    const isNewer = feed.state.revision >= this.#written || feed.listings !== this.#listings;
    this.#listings = feed.listings;
    if (feed.hasLostData || (isNewer && !this.#isWritten(feed.state))) {
      this.#runInBackground('write the lease again', this.#repair());
    }
  }

  /** Writes our keys to the store as soon as it is reachable. */
  async #repair(): Promise<void> {
    if (this.#repairing) return;
    this.#repairing = true;
    try {
      await this.#persist('write the lease', () => this.#writes.run(() => this.#write()));
    } finally {
      this.#repairing = false;
    }
  }

  async #renew(): Promise<void> {
    const { kv, log, ttl } = this.#context;
    const wait = Math.min((ttl - Math.min(RENEW_MARGIN, (ttl * 2) / 3)) * 1000, LONGEST_TIMER);
    while (!this.#stopped.signal.aborted) {
      if (!(await pause(wait, this.#stopped.signal))) return;
      await this.#persist('renew the lease', async () => {
        const begin = new Date();
        if ((await kv.keepAlive(this.#lease)) > 0) {
          this.#renewal = this.#renewedAt(begin);
          return;
        }
        log.warn({ lease: this.#lease }, 'the lease expired; claiming the subnets again');
        const { at, expires = begin } = this.#renewal;
        this.#renewal = { at, expires: expires < begin ? expires : begin };
        await this.#writes.run(() => this.#write());
      });
    }
  }

  #runInBackground(what: string, work: Promise<unknown>): void {
    background(what, work, this.#context.log, this.#stopped.signal);
  }

  /** Retries until it succeeds, the subnets are lost, or the claim is stopped. */
  async #persist(what: string, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopped;
    try {
      await untilDone(what, work, {
        signal,
        log: this.#context.log,
        hopeless: ['LEASE_LOST'],
        failed: (reason) => this.#failing.set(what, reason),
      });
      this.#failing.delete(what);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Compares the store with our keys and writes them if they differ. */
  async #write(): Promise<void> {
    const { kv, layout, ttl } = this.#context;
    for (let race = 0; race < MAX_RACES; race++) {
      const state = await readState(this.#context);
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
        const begin = new Date();
        this.#lease = (await kv.grant(ttl)).id;
        this.#renewal = this.#renewedAt(begin);
      }
    }
    throw lostRaces(MAX_RACES);
  }

  #renewedAt(at: Date): Renewal {
    return { at, expires: new Date(at.getTime() + this.#context.ttl * 1000) };
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

  #addAddresses({ addresses }: NodeFacts): void {
    for (const ip of Object.values(addresses)) this.#addresses.add(ip);
  }
}

/** Reads the network's current keys. Does not warn about unreadable keys; the feed already does. */
export async function readState({
  kv,
  layout,
  check,
}: Pick<ClaimContext, 'kv' | 'layout' | 'check'>): Promise<ClusterState> {
  const state = new ClusterState(layout, () => {}, check);
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
