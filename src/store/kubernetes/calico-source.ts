import { background } from '../../async/background.ts';
import type { Labels } from '../../cluster/selector.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { Log } from '../../log.ts';
import type { Written } from '../../policy/collect.ts';
import { labelsOf } from '../../policy/kubernetes/pod.ts';
import type { WrittenSet } from '../policies/network-sets.ts';
import { type Outage, PolicyKind } from './policy-kind.ts';
import { calicoPolicyKinds, calicoSetKinds, SERVICE_ACCOUNTS, type Version } from './policy-kinds.ts';
import { writtenOf, writtenSetOf } from './policy-objects.ts';
import { type Looks, ServedKinds } from './served-kinds.ts';

/** Calico's policies and network sets of one API group, and the service accounts that they ask for. */
export class CalicoSource {
  readonly version: Version;
  readonly policies: readonly PolicyKind<Written>[];
  readonly sets: readonly PolicyKind<WrittenSet>[];
  readonly accounts: PolicyKind<Labels>;
  readonly #served: ServedKinds;
  readonly #log: Log;
  readonly #ended = new AbortController();

  constructor(
    version: Version,
    options: { readonly client: KubernetesClient; readonly log: Log; readonly looks?: Looks },
  ) {
    this.version = version;
    this.#log = options.log;
    this.policies = calicoPolicyKinds(version).map(
      (resource) => new PolicyKind(resource, (object) => writtenOf(resource, object), options),
    );
    this.sets = calicoSetKinds(version).map(
      (resource) => new PolicyKind(resource, (object) => writtenSetOf(resource, object), options),
    );
    this.accounts = new PolicyKind(SERVICE_ACCOUNTS, labelsOf, options);
    this.#served = new ServedKinds([...this.policies, ...this.sets], {
      ...options,
      companions: [this.accounts],
    });
  }

  get isKnown(): boolean {
    return this.#all.every(({ isKnown }) => isKnown);
  }

  /** Whether the server has any of the kinds. */
  get isServed(): boolean {
    return this.#served.isAny;
  }

  get outage(): Outage | undefined {
    return [this.#served, ...this.#all].map(({ outage }) => outage).find((outage) => outage !== undefined);
  }

  /** Until `signal` aborts, or it is ended. */
  run(signal: AbortSignal, changed: () => void): void {
    const both = AbortSignal.any([signal, this.#ended.signal]);
    background('follow Calico’s policies', this.#served.run(both, changed), this.#log, both);
  }

  /** What is known stays. */
  end(): void {
    this.#ended.abort();
  }

  get #all(): readonly PolicyKind<object>[] {
    return [...this.policies, ...this.sets, this.accounts];
  }
}
