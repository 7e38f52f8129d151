import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import type { Owner } from './contributions.ts';
import { type Change, devicesOf, keyOf } from './item.ts';
import type { Outcome } from './kernel.ts';

/** A pending or failed change. */
export type Undone = {
  readonly change: Change;
  /** The owner of the desired item; undefined for one no longer desired. */
  readonly owner: Owner | undefined;
  readonly reason: string;
  /** Absent: the change is waiting for a device that is absent or down. */
  readonly error?: Error;
};

const MAX_LOGGED = 20;

/** All known pending and failed changes, whichever run found them. */
export class UndoneList {
  readonly #byKey = new Map<string, Omit<Undone, 'owner'>>();
  /** The reasons last logged: each is logged once. */
  #logged: ReadonlyMap<string, string> = new Map();

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  /** Whether a device holds what is in the way of a change: it may go unannounced, with the device. */
  involves(device: string): boolean {
    for (const { change } of this.#byKey.values())
      if (change.was && devicesOf(change.was).includes(device)) return true;
    return false;
  }

  list(ownerOf: (key: string) => Owner | undefined): readonly Undone[] {
    return [...this.#byKey].map(([key, undone]) => ({ ...undone, owner: ownerOf(key) }));
  }

  /** Forgets changes that have been retried or are no longer desired; by default all. */
  forget(keys: Iterable<string> = this.#byKey.keys()): void {
    for (const key of keys) this.#byKey.delete(key);
  }

  add({ failed, waiting }: Outcome): void {
    for (const { change, error } of failed) {
      this.#byKey.set(keyOf(change.item), { change, reason: messageOf(error), error });
    }
    for (const { change, reason } of waiting) this.#byKey.set(keyOf(change.item), { change, reason });
  }

  /** Logs new entries. */
  log(log: Log): void {
    const reasons = new Map([...this.#byKey].map(([key, { reason }]) => [key, reason]));
    const fresh = [...reasons].filter(([key, reason]) => this.#logged.get(key) !== reason);
    this.#logged = reasons;
    if (fresh.length === 0) return;
    const shown = fresh.slice(0, MAX_LOGGED).map(([key, reason]) => `${key}: ${reason}`);
    log.warn({ reasons: shown, count: fresh.length }, 'not in the kernel yet');
  }
}
