import { background } from '../../async/background.ts';
import type { Labels } from '../../cluster/selector.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { apiVersionOf } from '../../kubernetes/api/resource.ts';
import type { Log } from '../../log.ts';
import type { Written } from '../../policy/collect.ts';
import { namespaceLabels, nodeEntity } from '../../policy/kubernetes/pod.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import { type Problem, warning } from '../../problem.ts';
import { Accounts } from '../policies/accounts.ts';
import { Assembly } from '../policies/assembly.ts';
import { Table } from '../policies/table.ts';
import { type PolicyState, viewsOf } from '../policies/views.ts';
import type { PolicyFeed } from '../ports/policies.ts';
import { CalicoPolicies } from './calico-policies.ts';
import { NODES } from './kinds.ts';
import { MissingAccounts } from './missing-accounts.ts';
import { type Outage, PolicyKind } from './policy-kind.ts';
import { CLUSTER_NETWORK_POLICIES, NAMESPACES, NETWORK_POLICIES, PODS } from './policy-kinds.ts';
import { PolicyLoss } from './policy-loss.ts';
import { ownPodOf, writtenOf } from './policy-objects.ts';
import { type Looks, ServedKinds } from './served-kinds.ts';
import { UnfollowedKinds } from './unfollowed-kinds.ts';

/** Policies, Calico's too where the server has them, and the cluster's pods, namespaces and nodes. */
export class KubernetesPolicies implements PolicyFeed {
  readonly #client: KubernetesClient;
  readonly #log: Log;
  readonly #looks: Looks | undefined;
  #running: State | undefined;

  /** `looks`: of `ServedKinds`. */
  constructor(client: KubernetesClient, log: Log, looks?: Looks) {
    this.#client = client;
    this.#log = log;
    this.#looks = looks;
  }

  get problems(): readonly Problem[] {
    const { outage, loss, calico, unfollowed } = this.#running ?? {};
    const what = 'policies may be out of date';
    return [
      ...(outage ? [warning('store-unreachable', what, outage.reason)] : []),
      ...(loss?.problems ?? []),
      ...(calico?.problems ?? []),
      ...(unfollowed?.problems ?? []),
    ];
  }

  get origins(): readonly string[] {
    return this.#running?.origins ?? [];
  }

  async *watch(signal: AbortSignal): AsyncIterable<PolicyView> {
    const options = { client: this.#client, log: this.#log, ...(this.#looks && { looks: this.#looks }) };
    const state = new State(options);
    this.#running = state;
    try {
      yield* viewsOf((until, wake) => {
        state.run(until, wake);
        return state;
      }, signal);
    } finally {
      this.#running = undefined;
    }
  }
}

type Options = {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly looks?: Looks;
};

/** What is known of the API's objects. */
class State implements PolicyState {
  readonly loss = new PolicyLoss();
  readonly calico: CalicoPolicies;
  readonly unfollowed: UnfollowedKinds;
  readonly #log: Log;
  /** Without Calico's. */
  readonly #policies: readonly PolicyKind<Written>[];
  /** Those that every server has. */
  readonly #always: readonly PolicyKind<object>[];
  readonly #maybe: readonly PolicyKind<object>[];
  readonly #served: readonly ServedKinds[];
  readonly #assembly: Assembly;
  readonly #missing: MissingAccounts;

  constructor(options: Options) {
    this.#log = options.log;
    this.unfollowed = new UnfollowedKinds(options.client, options.looks?.[1]);
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
    const calico = new CalicoPolicies(options);
    const clusterPolicies = CLUSTER_NETWORK_POLICIES.map(policies);
    this.calico = calico;
    this.#policies = [networkPolicies, ...clusterPolicies];
    this.#always = [networkPolicies, pods, namespaces, nodes];
    this.#maybe = clusterPolicies;
    this.#served = clusterPolicies.map((kind) => new ServedKinds([kind], options));
    const own = this.#policies.map(({ table }) => table);
    const noAccounts = new Table<Labels>();
    const accounts = new Accounts(() => calico.allAccounts);
    this.#missing = new MissingAccounts(accounts, options);
    this.#assembly = new Assembly({
      get policies() {
        return [...own, ...calico.policies];
      },
      get sets() {
        return calico.sets;
      },
      pods: pods.table,
      namespaces: namespaces.table,
      haveAllNamespaces: true,
      get serviceAccounts() {
        return calico.serviceAccounts ?? noAccounts;
      },
      accounts,
      nodes: nodes.table,
    });
  }

  get isComplete(): boolean {
    return [...this.#all, this.calico].every(({ isKnown }) => isKnown);
  }

  /** Which versions of API groups policies are read from. */
  get origins(): readonly string[] {
    const served = this.#policies.filter(({ isFollowed }) => isFollowed);
    return [...served.map(({ resource }) => apiVersionOf(resource)), this.calico.origin ?? []].flat();
  }

  get outage(): Outage | undefined {
    return [...this.#all, ...this.#served, this.calico]
      .map(({ outage }) => outage)
      .find((outage) => outage !== undefined);
  }

  run(signal: AbortSignal, changed: () => void): void {
    for (const each of [...this.#always, ...this.#served, this.calico, this.#missing, this.unfollowed])
      background('follow what policies need', each.run(signal, changed), this.#log, signal);
  }

  view(): PolicyView | undefined {
    return this.loss.believe(this.#assembly.view(), this.outage !== undefined);
  }

  get #all(): readonly PolicyKind<object>[] {
    return [...this.#always, ...this.#maybe];
  }
}
