import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { excerpt } from '../../problem.ts';
import { isUnchecked } from './resource-object.ts';

export type FollowedOptions<T> = {
  readonly client: KubernetesClient;
  readonly resource: ResourceType;
  /** Throws for an object that cannot be read; `ignored` is told about fields that are left out. */
  readonly read: (object: KubernetesObject, ignored: (field: string) => void) => T;
  readonly log: Log;
  /** As an informer's. */
  readonly optional?: boolean;
};

/** What an object says, or why it cannot be read. */
type Reading<T> = { readonly value: T; readonly ignored: readonly string[] } | { readonly problem: string };

/** The objects of one kind, as far as they can be read. */
export class FollowedKind<T> {
  /** The last good value of each object. */
  readonly values = new Map<string, T>();
  /** Objects that cannot be read, and why; their last good values stay in force. */
  readonly problems = new Map<string, string>();
  /** Fields of objects that mean nothing here. */
  readonly ignored = new Map<string, string>();
  /** Whether all objects are known. */
  isKnown = false;
  readonly #options: FollowedOptions<T>;
  readonly #informer: Informer<Reading<T>>;

  constructor(options: FollowedOptions<T>) {
    const { client, resource, log, optional } = options;
    this.#options = options;
    const reduce = (object: KubernetesObject): Reading<T> | undefined => this.#read(object);
    this.#informer = new Informer({ client, resource, reduce, log, ...(optional && { optional }) });
  }

  /** Whether there is any object, readable or not. */
  get hasObjects(): boolean {
    return this.#informer.objects.size > 0;
  }

  /** Since when, and why, what is known may be out of date. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#informer.problem;
  }

  /** Calls `changed` for each key that changed, and at last once for all that are known. */
  async run(signal: AbortSignal, changed: (keys: readonly string[]) => void): Promise<void> {
    for await (const event of this.#informer.events(signal)) {
      if (event.type === 'synced') {
        for (const [key, reading] of event.objects) this.#learn(key, reading);
        this.isKnown = true;
        changed([...event.objects.keys()]);
      } else {
        this.#learn(event.key, event.type === 'set' ? event.value : undefined);
        changed([event.key]);
      }
    }
  }

  #read(object: KubernetesObject): Reading<T> | undefined {
    if (isUnchecked(object)) return undefined;
    const ignored: string[] = [];
    try {
      return { value: this.#options.read(object, (field) => void ignored.push(field)), ignored };
    } catch (error) {
      return { problem: messageOf(error) };
    }
  }

  #learn(key: string, reading: Reading<T> | undefined): void {
    this.problems.delete(key);
    this.ignored.delete(key);
    if (!reading) {
      this.values.delete(key);
    } else if ('problem' in reading) {
      this.problems.set(key, excerpt(reading.problem));
      const object = `${this.#options.resource.kind} ${excerpt(key, 120)}`;
      this.#options.log.warn({ object, problem: excerpt(reading.problem) }, 'ignored');
    } else {
      this.values.set(key, reading.value);
      if (reading.ignored.length > 0) this.ignored.set(key, excerpt(reading.ignored.join(', ')));
    }
  }
}
