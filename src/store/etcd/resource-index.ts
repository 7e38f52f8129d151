import { isDeepStrictEqual } from 'node:util';
import { collect, type Resource } from '../../cluster/calico/decode.ts';
import { NO_RESOURCES, type Resources } from '../../cluster/resources.ts';

/** The resources by key. One that says the same as before stays the same object. */
export class ResourceIndex {
  readonly #all = new Map<string, Resource>();
  #current: Resources = NO_RESOURCES;
  #stale = false;

  get current(): Resources {
    return this.#current;
  }

  set(key: string, resource: Resource): void {
    if (isDeepStrictEqual(this.#all.get(key), resource)) return;
    this.#all.set(key, resource);
    this.#stale = true;
  }

  delete(key: string): void {
    if (this.#all.delete(key)) this.#stale = true;
  }

  /** Ends a round of changes. Returns whether `current` is a new object. */
  settle(): boolean {
    if (!this.#stale) return false;
    this.#stale = false;
    this.#current = collect(this.#all.values(), this.#current);
    return true;
  }
}
