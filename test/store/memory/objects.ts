import { setImmediate } from 'node:timers/promises';
import type { Stored, Version } from '../../../src/store/ports/blocks.ts';

/**
 * The objects of one kind, by name. Each request takes a moment and changes one object by compare-and-swap,
 * as in a Kubernetes API server: a minimal store, whose abilities every store has.
 */
export class Objects<T> {
  readonly #all = new Map<string, Stored<T>>();
  readonly #changed: () => void;
  #count = 0;

  /** `changed` is called after each change. */
  constructor(changed: () => void = () => {}) {
    this.#changed = changed;
  }

  /** The current objects, oldest first, without a delay; only for the watch, which has them at hand. */
  get known(): ReadonlyMap<string, Stored<T>> {
    return this.#all;
  }

  async get(name: string): Promise<Stored<T> | undefined> {
    await setImmediate();
    return this.#all.get(name);
  }

  /** Oldest first. */
  async list(): Promise<[string, Stored<T>][]> {
    await setImmediate();
    return [...this.#all];
  }

  /** Returns undefined when it already exists. */
  async create(name: string, value: T): Promise<Stored<T> | undefined> {
    await setImmediate();
    return this.#all.has(name) ? undefined : this.#set(name, value);
  }

  async replace(name: string, read: Pick<Stored<T>, 'version'>, value: T): Promise<Stored<T> | undefined> {
    await setImmediate();
    return this.#all.get(name)?.version === read.version ? this.#set(name, value) : undefined;
  }

  async delete(name: string, read: Pick<Stored<T>, 'version'>): Promise<boolean> {
    await setImmediate();
    const isCurrent = this.#all.get(name)?.version === read.version;
    if (isCurrent) this.#all.delete(name);
    if (isCurrent) this.#changed();
    return isCurrent;
  }

  #set(name: string, value: T): Stored<T> {
    const stored = { value, version: `${++this.#count}` as Version };
    this.#all.set(name, stored);
    this.#changed();
    return stored;
  }
}
