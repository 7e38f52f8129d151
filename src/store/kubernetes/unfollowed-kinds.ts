import { pause } from '../../async/pause.ts';
import { codeOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { servedKinds } from '../../kubernetes/api/discovery.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';
import { type Problem, warning } from '../../problem.ts';

/** Milliseconds between two looks. */
const EVERY = 60_000;

type Unfollowed = {
  readonly kinds: readonly ResourceType[];
  readonly fix: string;
};

const old = (plural: string, kind: string): ResourceType => ({
  group: 'policy.networking.k8s.io',
  version: 'v1alpha1',
  plural,
  kind,
  namespaced: false,
});

const UNFOLLOWED: readonly Unfollowed[] = [
  {
    kinds: [
      old('adminnetworkpolicies', 'AdminNetworkPolicy'),
      old('baselineadminnetworkpolicies', 'BaselineAdminNetworkPolicy'),
    ],
    fix: 'write ClusterNetworkPolicies instead',
  },
];

/** Kinds of policies that a server may have, and nobody follows here: who writes some must learn of it. */
export class UnfollowedKinds {
  readonly #client: Pick<KubernetesClient, 'call'>;
  readonly #every: number;
  #found: readonly Unfollowed[] = [];

  /** `every`: milliseconds between two looks; a minute by default. */
  constructor(client: Pick<KubernetesClient, 'call'>, every = EVERY) {
    this.#client = client;
    this.#every = every;
  }

  get problems(): readonly Problem[] {
    return this.#found.map(({ kinds, fix }) => {
      const [{ group, version } = { group: '', version: '' }] = kinds;
      const what = `policies of these kinds are not enforced: ${group}/${version}`;
      return warning('policies-unfollowed', what, 'the cluster has them, but agents do not read them', fix);
    });
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    do {
      const found: Unfollowed[] = [];
      for (const each of UNFOLLOWED) if (await this.#isThere(each, signal)) found.push(each);
      this.#found = found;
    } while (await pause(this.#every * (0.5 + Math.random() / 2), signal));
  }

  async #isThere(each: Unfollowed, signal: AbortSignal): Promise<boolean> {
    try {
      const [first] = each.kinds;
      if (!first) return false;
      const served = await servedKinds(this.#client, first, { signal });
      return each.kinds.some(({ plural }) => served.has(plural));
    } catch (error) {
      // As before: that it cannot be known is said by those that are followed.
      if (codeOf(error) === undefined) throw error;
      return this.#found.includes(each);
    }
  }
}
