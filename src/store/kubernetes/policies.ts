import { isDeepStrictEqual } from 'node:util';
import { background } from '../../async/background.ts';
import { pause } from '../../async/pause.ts';
import type { Labels } from '../../cluster/selector.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { type Collected, collectPolicies, type Written } from '../../policy/collect.ts';
import { namespaceLabels, nodeEntity, podEntity } from '../../policy/kubernetes/pod.ts';
import type { NodeEntity, PodEntity } from '../../policy/model/entity.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import type { Problem } from '../../problem.ts';
import type { PolicyFeed } from '../ports/policies.ts';
import { NODES } from './kinds.ts';
import { CLUSTER_NETWORK_POLICIES, NAMESPACES, NETWORK_POLICIES, PODS } from './policy-kinds.ts';

/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 20;
/** Milliseconds after which a kind that the server lacked is looked for again, first and later. */
const [SOON, LATER] = [2000, 60_000];

/** A pod but for its namespace's labels. */
type Unlabelled = Omit<PodEntity, 'namespaceLabels'>;

/** NetworkPolicies and ClusterNetworkPolicies, and the cluster's pods, namespaces and nodes. */
export class KubernetesPolicies implements PolicyFeed {
  readonly #client: KubernetesClient;
  readonly #log: Log;
  #running: State | undefined;

  constructor(client: KubernetesClient, log: Log) {
    this.#client = client;
    this.#log = log;
  }

  get problems(): readonly Problem[] {
    const outage = this.#running?.outage;
    if (!outage) return [];
    const what = 'policies may be out of date';
    return [{ id: 'store-unreachable', severity: 'warning', what, cause: outage.reason }];
  }

  async *watch(signal: AbortSignal): AsyncIterable<PolicyView> {
    let news = Promise.withResolvers<void>();
    const wake = (): void => news.resolve();
    signal.addEventListener('abort', wake);
    const state = new State(this.#client, this.#log);
    this.#running = state;
    state.run(signal, wake);
    try {
      while (!signal.aborted) {
        await news.promise;
        await pause(COALESCE, signal);
        news = Promise.withResolvers<void>();
        if (!signal.aborted && state.isComplete) yield state.view();
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#running = undefined;
    }
  }
}

/** What is known of the API's objects. */
class State {
  readonly #client: KubernetesClient;
  readonly #log: Log;
  readonly #policies: Kind<Written>;
  /** In both versions. */
  readonly #clusterPolicies: readonly Kind<Written>[];
  readonly #pods: Kind<Unlabelled>;
  readonly #namespaces: Kind<Labels>;
  readonly #nodes: Kind<NodeEntity>;
  readonly #labelled = new WeakMap<Unlabelled, PodEntity>();
  #collected: { readonly version: string; readonly are: Collected } | undefined;

  constructor(client: KubernetesClient, log: Log) {
    this.#client = client;
    this.#log = log;
    this.#policies = this.#kind(NETWORK_POLICIES, (object) => written('NetworkPolicy', object));
    this.#clusterPolicies = CLUSTER_NETWORK_POLICIES.map((resource) =>
      this.#kind(resource, (object) => written('ClusterNetworkPolicy', object), true),
    );
    this.#pods = this.#kind(PODS, (object) => {
      const pod = podEntity(object, UNKNOWN);
      if (!pod) return undefined;
      const { namespaceLabels: _, ...rest } = pod;
      return rest;
    });
    this.#namespaces = this.#kind(NAMESPACES, ({ metadata }) =>
      namespaceLabels(metadata.name, metadata.labels),
    );
    this.#nodes = this.#kind(NODES, nodeEntity);
  }

  get isComplete(): boolean {
    return this.#all.every(({ isKnown }) => isKnown);
  }

  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#all.map(({ outage }) => outage).find((outage) => outage !== undefined);
  }

  run(signal: AbortSignal, changed: () => void): void {
    for (const kind of this.#all)
      background('follow what policies need', kind.run(signal, changed), this.#log, signal);
  }

  view(): PolicyView {
    const { tiers, problems } = this.#collect();
    const pods = new Map<string, PodEntity>();
    for (const [key, pod] of this.#pods.values) pods.set(key, this.#label(pod));
    return { tiers, problems, pods, others: [...this.#nodes.values.values()] };
  }

  /** The same objects as long as no policy has changed. */
  #collect(): Collected {
    const kinds = [this.#policies, ...this.#clusterPolicies];
    const version = kinds.map(({ changes }) => changes).join();
    if (this.#collected?.version !== version) {
      const are = collectPolicies(kinds.flatMap(({ values }) => [...values.values()]));
      this.#collected = { version, are };
    }
    return this.#collected.are;
  }

  get #all(): readonly Kind<object>[] {
    return [this.#policies, ...this.#clusterPolicies, this.#pods, this.#namespaces, this.#nodes];
  }

  #kind<T extends object>(
    resource: ResourceType,
    reduce: (object: KubernetesObject) => T | undefined,
    optional = false,
  ): Kind<T> {
    const options = { client: this.#client, resource, reduce, log: this.#log, optional };
    return new Kind(() => new Informer(options), optional);
  }

  /** The same object as long as neither the pod nor its namespace has changed. */
  #label(pod: Unlabelled): PodEntity {
    const labels = this.#namespaces.values.get(pod.namespace) ?? namespaceLabels(pod.namespace);
    const last = this.#labelled.get(pod);
    if (last?.namespaceLabels === labels) return last;
    const labelled = { ...pod, namespaceLabels: labels };
    this.#labelled.set(pod, labelled);
    return labelled;
  }
}

/** Namespaces' labels are added when a view is made. */
const UNKNOWN = { ofNamespace: (): Labels => ({}), ofServiceAccount: (): Labels => ({}) };

/** The objects of a kind. */
class Kind<T extends object> {
  readonly values = new Map<string, T>();
  isKnown = false;
  /** How many there have been. */
  changes = 0;
  readonly #informer: () => Informer<T>;
  readonly #isOptional: boolean;
  #running: Informer<T> | undefined;

  /** `informer`: makes one; an optional kind's ends where the server lacks or forbids the kind. */
  constructor(informer: () => Informer<T>, isOptional: boolean) {
    this.#informer = informer;
    this.#isOptional = isOptional;
  }

  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#running?.problem;
  }

  /** Follows the objects. A server that starts may lack a kind at first, and may have it later. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    for (let absences = 0; !signal.aborted; absences++) {
      await this.#follow(signal, changed);
      if (!this.#isOptional) return;
      if (absences > 0) this.#learn(new Map(), changed);
      await pause(absences > 0 ? LATER : SOON, signal);
    }
  }

  async #follow(signal: AbortSignal, changed: () => void): Promise<void> {
    this.#running = this.#informer();
    for await (const event of this.#running.events(signal)) {
      if (event.type === 'synced') this.#learn(event.objects, changed);
      else if (this.#set(event.key, event.type === 'set' ? event.value : undefined)) {
        this.changes++;
        changed();
      }
    }
  }

  #learn(objects: ReadonlyMap<string, T>, changed: () => void): void {
    const gone = [...this.values.keys()].filter((key) => !objects.has(key));
    const others = [...objects].filter(([key, value]) => this.#set(key, value));
    for (const key of gone) this.#set(key, undefined);
    if (this.isKnown && gone.length + others.length === 0) return;
    this.isKnown = true;
    this.changes++;
    changed();
  }

  /** Whether that makes a difference: most of what changes in an object does not matter here. */
  #set(key: string, value: T | undefined): boolean {
    if (value === undefined) return this.values.delete(key);
    if (isDeepStrictEqual(this.values.get(key), value)) return false;
    this.values.set(key, value);
    return true;
  }
}

function written(kind: string, { metadata, spec }: KubernetesObject): Written {
  const { namespace, name } = metadata;
  return { kind, name, ...(namespace !== undefined && { namespace }), spec };
}
