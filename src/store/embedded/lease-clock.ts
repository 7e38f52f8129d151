import { randomInt } from 'node:crypto';
import { etcdError } from './errors.ts';
import type { Machine } from './machine.ts';

/** Seconds; etcd's minimum with its default election timeout. */
const MIN_TTL = 2;
const TICK = 250;
/** Maximum lease time one tick may add, in milliseconds. */
const MAX_STEP = 4 * TICK;

/**
 * Expires leases. Its clock runs only while this server does: after a start, every lease has its full TTL
 * again, and a server that was stopped or starved hears from its clients before expiring anything. So no
 * store outage costs a node its subnet.
 */
export class LeaseClock {
  readonly #machine: Machine;
  readonly #leases = new Map<string, { readonly ttl: number; deadline: number }>();
  /** Milliseconds of lease time since the start. */
  #now = 0;
  #ticked = performance.now();
  readonly #timer: NodeJS.Timeout;

  /** `onError` is called when an expired lease cannot be ended; the next tick retries. */
  constructor(machine: Machine, onError: (error: unknown) => void) {
    this.#machine = machine;
    for (const [id, ttl] of machine.leases()) this.#leases.set(id, { ttl, deadline: ttl * 1000 });
    this.#timer = setInterval(() => {
      try {
        this.#tick();
      } catch (error) {
        onError(error);
      }
    }, TICK);
  }

  /** ID `0` lets the server choose one. Returns the ID and the TTL granted, in seconds. */
  grant(wanted: string, seconds: number): { id: string; ttl: number } {
    const ttl = Math.max(seconds, MIN_TTL);
    // Below 2^48, so that clients that parse it as a double do not lose precision.
    const id = wanted === '0' ? String(randomInt(1, 2 ** 48 - 1)) : wanted;
    this.#machine.grant(id, ttl);
    this.#leases.set(id, { ttl, deadline: this.#now + ttl * 1000 });
    return { id, ttl };
  }

  /** Returns the TTL in seconds; 0 when there is no such lease. */
  keepAlive(id: string): number {
    const lease = this.#leases.get(id);
    if (!lease) return 0;
    lease.deadline = this.#now + lease.ttl * 1000;
    return lease.ttl;
  }

  revoke(id: string): void {
    if (!this.#leases.has(id)) throw etcdError('leaseNotFound');
    this.#machine.revoke(id);
    this.#leases.delete(id);
  }

  /** Returns the whole seconds remaining and the seconds granted. */
  timeToLive(id: string): { remaining: number; granted: number } | undefined {
    const lease = this.#leases.get(id);
    if (!lease) return undefined;
    return { remaining: Math.max(0, Math.floor((lease.deadline - this.#now) / 1000)), granted: lease.ttl };
  }

  ids(): string[] {
    return [...this.#leases.keys()];
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    this.#now += Math.min(now - this.#ticked, MAX_STEP);
    this.#ticked = now;
    for (const [id, { deadline }] of this.#leases) if (deadline <= this.#now) this.revoke(id);
  }
}
