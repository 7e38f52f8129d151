import { collect, decode, type Resource } from '../../cluster/calico/decode.ts';
import type { Kind } from '../../cluster/calico/document.ts';
import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { excerpt } from '../../problem.ts';
import type { Affinity } from '../ports/blocks.ts';
import { affinityOf } from './block-object.ts';
import type { ClusterState } from './cluster-state.ts';
import { BLOCK_AFFINITIES, RESOURCE_TYPES } from './crds.ts';
import { documentOf, isUnchecked } from './resource-object.ts';

/** What an object says, or why it cannot be read. */
type Reading<T> = { readonly value: T } | { readonly problem: string };

type Dated = { readonly affinity: Affinity; readonly created: number };

/** Keeps the resources and blocks of a ClusterState in step with the objects of our own kinds. */
export class OwnKinds {
  /** Objects that cannot be read, and why; their last good values stay in force. */
  readonly problems = new Map<string, string>();
  readonly #client: KubernetesClient;
  readonly #state: ClusterState;
  readonly #log: Log;
  readonly #informers = new Set<{
    readonly problem: { readonly since: Date; readonly reason: string } | undefined;
  }>();
  readonly #synced = new Set<string>();
  readonly #resources = new Map<string, Resource>();

  constructor(client: KubernetesClient, state: ClusterState, log: Log) {
    this.#client = client;
    this.#state = state;
    this.#log = log;
  }

  /** Whether all objects are known. */
  get isComplete(): boolean {
    return this.#synced.size === Object.keys(RESOURCE_TYPES).length + 1;
  }

  /** Since when, and why, what is known may be out of date. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return [...this.#informers].map(({ problem }) => problem).find((problem) => problem !== undefined);
  }

  /** Follows all kinds until `signal` aborts; `changed` is called after every change. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    const kinds = Object.keys(RESOURCE_TYPES) as Kind[];
    const resources = kinds.map((kind) => {
      const read = (object: KubernetesObject): Resource => decode(documentOf(kind, object), '', () => {});
      return this.#follow(RESOURCE_TYPES[kind], read, signal, changed, (key, resource) => {
        if (resource) this.#resources.set(`${kind}/${key}`, resource);
        else this.#resources.delete(`${kind}/${key}`);
        this.#state.resources = collect(this.#resources.values(), this.#state.resources);
      });
    });
    const read = (object: KubernetesObject): Dated => ({
      affinity: affinityOf(object),
      created: Date.parse(String(object.metadata.creationTimestamp)) || 0,
    });
    const affinities = this.#follow(BLOCK_AFFINITIES, read, signal, changed, (key, value) =>
      this.#state.blocks.set(key, value?.affinity, value?.created),
    );
    await Promise.all([...resources, affinities]);
  }

  async #follow<T>(
    resource: ResourceType,
    read: (object: KubernetesObject) => T,
    signal: AbortSignal,
    changed: () => void,
    set: (key: string, value: T | undefined) => void,
  ): Promise<void> {
    const reduce = (object: KubernetesObject): Reading<T> | undefined => {
      if (isUnchecked(object)) return undefined;
      try {
        return { value: read(object) };
      } catch (error) {
        return { problem: messageOf(error) };
      }
    };
    const informer = new Informer({ client: this.#client, resource, reduce, log: this.#log });
    const learn = (key: string, reading: Reading<T> | undefined): void => {
      const title = `${resource.kind} ${excerpt(key, 120)}`;
      this.problems.delete(title);
      if (reading && 'problem' in reading) {
        this.problems.set(title, excerpt(reading.problem));
        this.#log.warn({ object: title, problem: excerpt(reading.problem) }, 'ignored');
      } else {
        set(key, reading?.value);
      }
    };
    this.#informers.add(informer);
    for await (const event of informer.events(signal)) {
      if (event.type === 'synced') {
        for (const [key, reading] of event.objects) learn(key, reading);
        this.#synced.add(resource.plural);
      } else {
        learn(event.key, event.type === 'set' ? event.value : undefined);
      }
      changed();
    }
    this.#informers.delete(informer);
  }
}
