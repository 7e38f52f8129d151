import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { Table } from '../policies/table.ts';

export type Outage = { readonly since: Date; readonly reason: string };

/** Follows the objects of a kind into a table. */
export class PolicyKind<T extends object> {
  readonly resource: ResourceType;
  readonly table = new Table<T>();
  readonly #informer: () => Informer<T>;
  #isKnown = false;
  #areAll = false;
  #running: Informer<T> | undefined;

  constructor(
    resource: ResourceType,
    reduce: (object: KubernetesObject) => T | undefined,
    { client, log }: { readonly client: KubernetesClient; readonly log: Log },
  ) {
    this.resource = resource;
    this.#informer = () => new Informer({ client, resource, reduce, log });
  }

  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Whether the server has the kind. */
  get isFollowed(): boolean {
    return this.#running !== undefined;
  }

  /** Whether the server has told of all that it has, since it has the kind. */
  get areAll(): boolean {
    return this.#areAll;
  }

  get outage(): Outage | undefined {
    return this.#running?.problem;
  }

  /** Until `signal` aborts; what is known stays. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    const informer = this.#informer();
    this.#running = informer;
    for await (const event of informer.events(signal)) {
      if (event.type === 'synced') {
        this.#areAll = true;
        this.#learn(event.objects, changed);
      } else if (this.table.set(event.key, event.type === 'set' ? event.value : undefined)) changed();
    }
    if (this.#running === informer) this.#running = undefined;
  }

  /** The server has none: it does not know the kind. */
  none(changed: () => void): void {
    this.#areAll = false;
    this.#learn(new Map(), changed);
  }

  #learn(objects: ReadonlyMap<string, T>, changed: () => void): void {
    const isNew = !this.#isKnown;
    this.#isKnown = true;
    if (this.table.replace(objects) || isNew) changed();
  }
}
