import { background } from '../../async/background.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { Log } from '../../log.ts';
import { namespaceLabels, nodeEntity } from '../../policy/kubernetes/pod.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import { type Problem, warning } from '../../problem.ts';
import { Assembly } from '../policies/assembly.ts';
import { type PolicyState, viewsOf } from '../policies/views.ts';
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
import { PolicyLoss } from './policy-loss.ts';
import { accountLabels, ownPodOf, writtenOf, writtenSetOf } from './policy-objects.ts';
import { ServedKinds } from './served-kinds.ts';
import { UnfollowedKinds } from './unfollowed-kinds.ts';

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
    const { outage, loss, unfollowed } = this.#running ?? {};
    const what = 'policies may be out of date';
    return [
      ...(outage ? [warning('store-unreachable', what, outage.reason)] : []),
      ...(loss?.problems ?? []),
      ...(unfollowed?.problems ?? []),
    ];
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
  readonly looks?: readonly [soon: number, later: number];
};

/** What is known of the API's objects. */
class State implements PolicyState {
  readonly loss = new PolicyLoss();
  readonly unfollowed: UnfollowedKinds;
  readonly #log: Log;
  /** Those that every server has. */
  readonly #always: readonly PolicyKind<object>[];
  readonly #maybe: readonly PolicyKind<object>[];
  readonly #served: readonly ServedKinds[];
  readonly #assembly: Assembly;

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
      haveAllNamespaces: true,
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
    for (const each of [...this.#always, ...this.#served, this.unfollowed])
      background('follow what policies need', each.run(signal, changed), this.#log, signal);
  }

  view(): PolicyView | undefined {
    return this.loss.believe(this.#assembly.view(), this.outage !== undefined);
  }

  get #all(): readonly PolicyKind<object>[] {
    return [...this.#always, ...this.#maybe];
  }
}
