import { pause } from '../../async/pause.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import type { KubernetesClient } from '../api/client.ts';
import type { KubernetesObject } from '../api/object.ts';
import type { Name } from '../api/resource.ts';
import { change } from '../change.ts';
import { held, LEASES, type LeaseRecord, leaseObject, readLease } from './lease-record.ts';

export type ElectionOptions = {
  readonly client: KubernetesClient;
  readonly log: Log;
  /** The Lease object all candidates share. */
  readonly at: Name;
  /** Unique among candidates, also between two runs of one. */
  readonly identity: string;
  /** Seconds after its last renewal at which a silent leader is replaced; 120 by default. */
  readonly duration?: number;
  /** Ends the candidacy, and gives up leadership. */
  readonly signal: AbortSignal;
};

/** The shares of a lease's duration after which a leader renews it, and stops leading if it cannot. */
const [RENEW, STOP] = [0.25, 0.7];

/**
 * Runs `lead` in at most one of the candidates at a time. Its signal aborts when leadership is lost. The
 * same rules as client-go's leader election, but with few requests: a candidate asks about twice per
 * duration, a leader four times. Clocks need not agree, only run at about the same speed; work that must not
 * be done twice still needs compare-and-swap, as a leader may be suspended at any point.
 *
 * Resolves when the signal has aborted and `lead` has returned; rejects when `lead` does.
 */
export async function elect(
  options: ElectionOptions,
  lead: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { signal, log, at, duration = 120 } = options;
  const candidate = new Candidate(options);
  let last = '';
  while (!signal.aborted) {
    try {
      if (await candidate.acquire()) await new Term(candidate, options).run(lead);
      last = '';
    } catch (error) {
      if (error instanceof LeadFailed) throw error.cause;
      const reason = messageOf(error);
      if (!signal.aborted && reason !== last) log.warn({ lease: at.name, reason }, 'election failed');
      last = reason;
    }
    await pause(duration * 1000 * (0.3 + 0.3 * Math.random()), signal);
  }
}

class LeadFailed extends Error {}

/** What a candidate knows of the lease. */
class Candidate {
  readonly #options: ElectionOptions;
  readonly #duration: number;
  /** The last record seen, and when it was first seen like this, by our own clock. */
  #seen: { readonly renewal: string; readonly at: number } | undefined;
  #object: KubernetesObject | undefined;

  constructor(options: ElectionOptions) {
    this.#options = options;
    this.#duration = options.duration ?? 120;
  }

  /** Takes the lease if it is free or its holder has been silent for too long. */
  async acquire(): Promise<boolean> {
    const { client, at, identity, signal } = this.#options;
    this.#object = await change(
      client,
      LEASES,
      at,
      (current) => {
        const record = current && readLease(current);
        if (record && !this.#isFree(record)) return undefined;
        return leaseObject(at, current, held(record, identity, this.#duration, new Date()));
      },
      { signal },
    );
    return this.#isOurs();
  }

  /** Renews the lease. Returns false if another holds it. */
  async renew(signal: AbortSignal): Promise<boolean> {
    const { client, at, identity } = this.#options;
    const last = this.#object;
    if (!last) return false;
    const record = held(readLease(last), identity, this.#duration, new Date());
    try {
      // One request, as long as nobody else touches it.
      this.#object = await client.replace(LEASES, leaseObject(at, last, record), { signal });
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'STORE_CONFLICT' && code !== 'NOT_FOUND') throw error;
      return this.acquire();
    }
  }

  /** Lets another candidate lead at once. */
  async release(): Promise<void> {
    const { client, at, identity } = this.#options;
    const signal = AbortSignal.timeout(5000);
    const free = (current: KubernetesObject | undefined): KubernetesObject | undefined => {
      const record = current && readLease(current);
      return record?.holder === identity ? leaseObject(at, current, { ...record, holder: '' }) : undefined;
    };
    await change(client, LEASES, at, free, { signal });
  }

  #isFree(record: LeaseRecord): boolean {
    const renewal = `${record.holder} ${record.acquired} ${record.renewed}`;
    const now = performance.now();
    if (this.#seen?.renewal !== renewal) this.#seen = { renewal, at: now };
    if (record.holder === '' || record.holder === this.#options.identity) return true;
    return now - this.#seen.at > record.duration * 1000;
  }

  #isOurs(): boolean {
    return this.#object !== undefined && readLease(this.#object).holder === this.#options.identity;
  }
}

/** One term of leadership. */
class Term {
  readonly #candidate: Candidate;
  readonly #options: ElectionOptions;
  readonly #lost = new AbortController();

  constructor(candidate: Candidate, options: ElectionOptions) {
    this.#candidate = candidate;
    this.#options = options;
  }

  /** Leads until the lease is lost, the signal aborts, or `lead` returns. */
  async run(lead: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { log, at, identity, signal } = this.#options;
    log.info({ lease: at.name, identity }, 'leading');
    const ended = AbortSignal.any([signal, this.#lost.signal]);
    const renewing = this.#renewUntil(ended);
    try {
      await lead(ended);
    } catch (cause) {
      if (!ended.aborted) throw new LeadFailed('', { cause });
    } finally {
      const wasLost = this.#lost.signal.aborted;
      this.#lost.abort();
      await renewing;
      log.info({ lease: at.name, identity }, wasLost ? 'leadership lost' : 'leadership given up');
      if (!wasLost) await this.#release();
    }
  }

  async #release(): Promise<void> {
    const { log, at } = this.#options;
    try {
      await this.#candidate.release();
    } catch (error) {
      // It runs out.
      log.warn({ lease: at.name, reason: messageOf(error) }, 'lease not released');
    }
  }

  async #renewUntil(ended: AbortSignal): Promise<void> {
    const { log, at, duration = 120 } = this.#options;
    const lose = (): void => this.#lost.abort();
    let timer = setTimeout(lose, STOP * duration * 1000);
    while (await pause(RENEW * duration * 1000, ended)) {
      const begin = performance.now();
      try {
        if (!(await this.#candidate.renew(ended))) lose();
        clearTimeout(timer);
        timer = setTimeout(lose, STOP * duration * 1000 - (performance.now() - begin));
      } catch (error) {
        if (!ended.aborted) log.warn({ lease: at.name, reason: messageOf(error) }, 'lease not renewed');
      }
    }
    clearTimeout(timer);
  }
}
