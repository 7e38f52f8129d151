import { setImmediate } from 'node:timers/promises';
import type { Stored, Version } from '../../../src/store/ports/blocks.ts';

/**
 * The objects of one kind, by name. Each request takes a moment and changes one object by compare-and-swap,
 * as a Kubernetes API server does: what a store of this kind can do, every store can.
 */
export class Objects<T> {
  readonly #all = new Map<string, Stored<T>>();
  readonly #changed: () => void;
  #count = 0;

  /** `changed`: after each change. */
  constructor(changed: () => void = () => {}) {
    this.#changed = changed;
  }

  /** As they are now, oldest first; only for the watch, which has what it shows at hand. */
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

  /** Undefined when it exists. */
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
