import { background } from '../../async/background.ts';
import { pause } from '../../async/pause.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { Log } from '../../log.ts';
import { namespaceLabels, nodeEntity } from '../../policy/kubernetes/pod.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import type { Problem } from '../../problem.ts';
import { Assembly } from '../policies/assembly.ts';
import type { PolicyFeed } from '../ports/policies.ts';
import { NODES } from './kinds.ts';
import { type Outage, PolicyKind } from './policy-kind.ts';
import {
  CALICO_POLICY_KINDS,
  CALICO_SET_KINDS,
  CLUSTER_NETWORK_POLICIES,
  NAMESPACES,
  NETWORK_POLICIES,
  PODS,
  SERVICE_ACCOUNTS,
} from './policy-kinds.ts';
import { accountLabels, ownPodOf, writtenOf, writtenSetOf } from './policy-objects.ts';
import { ServedKinds } from './served-kinds.ts';

/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 20;

/** Policies, Calico's too where the server has them, and the cluster's pods, namespaces and nodes. */
export class KubernetesPolicies implements PolicyFeed {
  readonly #client: KubernetesClient;
  readonly #log: Log;
  readonly #looks: readonly [soon: number, later: number] | undefined;
  #running: State | undefined;

  /** `looks`: of `ServedKinds`. */
  constructor(client: KubernetesClient, log: Log, looks?: readonly [soon: number, later: number]) {
    this.#client = client;
    this.#log = log;
    this.#looks = looks;
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
    const options = { client: this.#client, log: this.#log, ...(this.#looks && { looks: this.#looks }) };
    const state = new State(options);
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

type Options = {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly looks?: readonly [soon: number, later: number];
};

/** What is known of the API's objects. */
class State {
  readonly #log: Log;
  /** Those that every server has. */
  readonly #always: readonly PolicyKind<object>[];
  readonly #maybe: readonly PolicyKind<object>[];
  readonly #served: readonly ServedKinds[];
  readonly #assembly: Assembly;

  constructor(options: Options) {
    this.#log = options.log;
    const policies = (resource: typeof PODS) =>
      new PolicyKind(resource, (object) => writtenOf(resource, object), options);
    const networkPolicies = policies(NETWORK_POLICIES);
    const pods = new PolicyKind(PODS, ownPodOf, options);
    const namespaces = new PolicyKind(
      NAMESPACES,
      ({ metadata: { name, labels } }) => namespaceLabels(name, labels),
      options,
    );
    const nodes = new PolicyKind(NODES, nodeEntity, options);
    const accounts = new PolicyKind(SERVICE_ACCOUNTS, accountLabels, options);
    const clusterPolicies = CLUSTER_NETWORK_POLICIES.map(policies);
    const calicos = CALICO_POLICY_KINDS.map(policies);
    const sets = CALICO_SET_KINDS.map((resource) => new PolicyKind(resource, writtenSetOf, options));
    this.#always = [networkPolicies, pods, namespaces, nodes];
    this.#maybe = [...clusterPolicies, ...calicos, ...sets, accounts];
    this.#served = [
      ...clusterPolicies.map((kind) => new ServedKinds([kind], options)),
      new ServedKinds([...calicos, ...sets], { ...options, companions: [accounts] }),
    ];
    this.#assembly = new Assembly({
      policies: [networkPolicies, ...clusterPolicies, ...calicos].map(({ table }) => table),
      sets: sets.map(({ table }) => table),
      pods: pods.table,
      namespaces: namespaces.table,
      serviceAccounts: accounts.table,
      nodes: nodes.table,
    });
  }

  get isComplete(): boolean {
    return this.#all.every(({ isKnown }) => isKnown);
  }

  get outage(): Outage | undefined {
    return [...this.#all, ...this.#served].map(({ outage }) => outage).find((outage) => outage !== undefined);
  }

  run(signal: AbortSignal, changed: () => void): void {
    for (const each of [...this.#always, ...this.#served])
      background('follow what policies need', each.run(signal, changed), this.#log, signal);
  }

  view(): PolicyView {
    return this.#assembly.view();
  }

  get #all(): readonly PolicyKind<object>[] {
    return [...this.#always, ...this.#maybe];
  }
}
