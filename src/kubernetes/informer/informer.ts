import { logFailure } from '../../async/background.ts';
import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { Log } from '../../log.ts';
import { ApiError } from '../api/api-error.ts';
import type { KubernetesClient } from '../api/client.ts';
import { list, newestVersion, type Selection } from '../api/list.ts';
import { type KubernetesObject, keyOf } from '../api/object.ts';
import type { ResourceType } from '../api/resource.ts';
import { watch } from '../api/watch.ts';
import { type Change, Inventory, isOlder, type Kept } from './inventory.ts';

export type InformerOptions<T> = Selection & {
  readonly client: KubernetesClient;
  readonly resource: ResourceType;
  /** Returns what is to be kept of an object; undefined: nothing, as if it did not exist. */
  readonly reduce: (object: KubernetesObject) => T | undefined;
  readonly log: Log;
  /** The server may lack the kind, or forbid it: its objects are gone then, and the events end. */
  readonly optional?: boolean;
  /** Milliseconds of refusals after which a kind that was there counts as gone; 60 000 by default. */
  readonly absence?: number;
  readonly pageSize?: number;
  /** Milliseconds of silence after which a watch is reopened; 90 000 by default. */
  readonly idle?: number;
  /** Seconds after which the server is to end each watch; 300 to 600 by default. */
  readonly seconds?: number;
  /** Milliseconds that a watch must last to be resumed at once; 5000 by default. */
  readonly lasting?: number;
  /** Default: full jitter, 200 ms doubling to 10 s. */
  readonly backoff?: Backoff;
};

export type InformerEvent<T> =
  | Change<T>
  | { readonly type: 'synced'; readonly objects: ReadonlyMap<string, T> };

/** Seconds after which the server ends a watch: at random, so that not all clients return at once. */
const watchSeconds = (): number => 300 + Math.floor(Math.random() * 300);

/**
 * Keeps what matters of all objects of a kind: one list, then a watch from there on. A watch that ends or
 * breaks resumes where it was; if history no longer reaches back that far, a new list is compared with what
 * is known. While the server is away, what is known stays.
 */
export class Informer<T> {
  readonly #options: InformerOptions<T>;
  readonly #backoff: Backoff;
  readonly #inventory = new Inventory<T>();
  /** Everything up to this version is known; undefined: list. */
  #version: string | undefined;
  #synced = false;
  /** A watch was silent for too long: perhaps the store went back in time. */
  #inDoubt = false;
  /** Since when, by `performance.now()`, the server says that it lacks or forbids the kind. */
  #absentSince: number | undefined;
  #problem: { readonly since: Date; readonly reason: string; readonly code: string | undefined } | undefined;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff({ first: 200, longest: 10_000, jitter: 1 });
  }

  /** By `namespace/name`, or `name`; complete once `synced` has been yielded. */
  get objects(): ReadonlyMap<string, T> {
    return this.#inventory.values;
  }

  /** Why what is known may be out of date; undefined while the watch stands. */
  get problem(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#problem;
  }

  /**
   * Yields `synced` once with all objects, then every change in the server's order. A change that is undone
   * while the server is away may be left out. Ends when `signal` aborts, and without an `optional` kind.
   * Never throws. To be called once.
   */
  async *events(signal: AbortSignal): AsyncGenerator<InformerEvent<T>> {
    const { lasting = 5000 } = this.#options;
    while (!signal.aborted) {
      const begin = performance.now();
      const version = this.#version;
      let error: unknown;
      try {
        for await (const event of version === undefined ? this.#list(signal) : this.#watch(version, signal)) {
          if (event) yield event;
        }
      } catch (failure) {
        error = failure;
      }
      if (signal.aborted) return;
      if (this.#options.optional && this.#isGone(error)) {
        yield* this.#becomeEmpty();
        return;
      }
      // A list is followed by a watch at once, but proves nothing. A watch must last, whatever came: a server
      // that ends each of them soon is not to be asked without a pause.
      const isWatch = version !== undefined;
      const lasted = isWatch && performance.now() - begin >= lasting;
      if (lasted) this.#backoff.reset();
      if (error !== undefined) await pause(this.#waitAfter(error), signal);
      else if (isWatch && !lasted) await pause(this.#backoff.next(), signal);
    }
  }

  /**
   * A server that has just started says 403 until it has read the roles, and 404 until it has read the
   * definitions: what was known is gone only if that lasts.
   */
  #isGone(error: unknown): boolean {
    if (!isAbsence(error)) {
      this.#absentSince = undefined;
      return false;
    }
    this.#absentSince ??= performance.now();
    return !this.#synced || performance.now() - this.#absentSince >= (this.#options.absence ?? 60_000);
  }

  *#becomeEmpty(): Generator<InformerEvent<T>> {
    this.#problem = undefined;
    yield* this.#inventory.replaceAll([]);
    if (!this.#synced) yield { type: 'synced', objects: this.#inventory.values };
  }

  async *#list(signal: AbortSignal): AsyncGenerator<InformerEvent<T>> {
    const { client, resource } = this.#options;
    const options = { ...this.#options, signal };
    const { items, resourceVersion } = await list(client, resource, (object) => this.#keep(object), options);
    this.#version = resourceVersion;
    this.#inDoubt = false;
    for (const change of this.#inventory.replaceAll(items)) if (this.#synced) yield change;
    if (this.#synced) return;
    this.#synced = true;
    yield { type: 'synced', objects: this.#inventory.values };
  }

  /** Yields undefined for events that change nothing. */
  async *#watch(version: string, signal: AbortSignal): AsyncGenerator<Change<T> | undefined> {
    const { client, resource, idle = 90_000, seconds = watchSeconds() } = this.#options;
    if (this.#inDoubt) {
      const newest = await newestVersion(client, resource, { ...this.#options, signal });
      this.#inDoubt = false;
      if (isOlder(newest, version)) {
        this.#options.log.warn({ resource: resource.plural, newest, version }, 'the store went back in time');
        this.#version = undefined;
        return;
      }
    }
    const opened = (): void => {
      this.#problem = undefined;
      this.#absentSince = undefined;
    };
    const options = {
      ...this.#options,
      resourceVersion: version,
      idle,
      seconds,
      signal,
      opened,
    };
    for await (const event of watch(client, resource, options)) {
      if (event.type === 'BOOKMARK') {
        this.#version = event.resourceVersion;
        yield undefined;
        continue;
      }
      const kept = this.#keep(event.object);
      this.#version = kept.version;
      yield event.type === 'DELETED' ? this.#inventory.delete(kept.key) : this.#inventory.set(kept);
    }
  }

  #keep(object: KubernetesObject): Kept<T> {
    const { reduce, log } = this.#options;
    const { metadata } = object;
    const at = { key: keyOf(metadata), version: metadata.resourceVersion ?? '' };
    try {
      return { ...at, value: reduce(object) };
    } catch (error) {
      // No object may end the feed.
      logFailure(`reading ${this.#options.resource.plural} ${at.key}`, error, log);
      return { ...at, value: undefined };
    }
  }

  /** Decides how to go on after a failure; returns the milliseconds to wait before. */
  #waitAfter(error: unknown): number {
    const { resource, log } = this.#options;
    const code = codeOf(error);
    const reason = messageOf(error);
    if (code === 'STORE_COMPACTED' || code === 'TIMEOUT') {
      log.debug({ resource: resource.plural, reason }, 'watch ended');
      if (code === 'TIMEOUT') this.#inDoubt = true;
      else this.#version = undefined;
    } else {
      if (reason !== this.#problem?.reason)
        log.warn({ resource: resource.plural, reason }, 'cannot be watched');
      // A server that has just started says 403 until it has read the roles.
      if (this.#problem && code !== this.#problem.code) this.#backoff.startOver();
      this.#problem = { since: this.#problem?.since ?? new Date(), reason, code };
    }
    return Math.max(this.#backoff.next(), (error instanceof ApiError && error.retryAfter) || 0);
  }
}

/** Whether the server lacks the kind, or forbids it. */
export function isAbsence(error: unknown): boolean {
  return ['KIND_UNKNOWN', 'STORE_FORBIDDEN'].includes(codeOf(error) ?? '');
}
