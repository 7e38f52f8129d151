import { isDeepStrictEqual } from 'node:util';
import { collect, type Resource } from '../../cluster/calico/decode.ts';
import type { Node } from '../../cluster/node.ts';
import { NO_RESOURCES, type Resources } from '../../cluster/resources.ts';

/** A map with several values per key. */
export class Multimap<K, V> {
  readonly #sets = new Map<K, Set<V>>();

  get(key: K): Iterable<V> {
    return this.#sets.get(key) ?? [];
  }

  add(key: K, value: V): void {
    const set = this.#sets.get(key);
    if (set) set.add(value);
    else this.#sets.set(key, new Set([value]));
  }

  delete(key: K, value: V): void {
    const set = this.#sets.get(key);
    set?.delete(value);
    if (set?.size === 0) this.#sets.delete(key);
  }
}

/** The resources by key. A resource rewritten with equal content stays the same object. */
export class ResourceIndex {
  readonly #all = new Map<string, Resource>();
  #current: Resources = NO_RESOURCES;
  #stale = false;

  get current(): Resources {
    return this.#current;
  }

  has(key: string): boolean {
    return this.#all.has(key);
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

/** Finds the position of a name, or where to insert it, in a list sorted by name. */
export function placeOf(nodes: readonly Node[], name: string): { index: number; found: Node | undefined } {
  let low = 0;
  let high = nodes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((nodes[middle]?.name ?? '') < name) low = middle + 1;
    else high = middle;
  }
  const candidate = nodes[low];
  return { index: low, found: candidate?.name === name ? candidate : undefined };
}
