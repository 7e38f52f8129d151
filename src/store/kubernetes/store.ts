import type { Access } from '../../kubernetes/access/access.ts';
import { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { Log } from '../../log.ts';
import type { CheckNetwork } from '../ports/network.ts';
import type { Store } from '../ports/store.ts';
import { KubernetesBlocks } from './blocks.ts';
import { KubernetesDuties } from './duties.ts';
import { KubernetesFeed } from './feed.ts';
import { NODES } from './kinds.ts';
import { KubernetesMembership } from './membership.ts';
import { DEFAULT_CONFIG_MAP, KubernetesNetwork } from './network.ts';
import { annotationKeys } from './node/keys.ts';
import { readNode } from './node/read.ts';
import { KubernetesPolicies } from './policies.ts';
import { KubernetesResources } from './resources.ts';

export type KubernetesStoreOptions = {
  /** flannel's `--kube-annotation-prefix`. */
  readonly annotationPrefix?: string | undefined;
  /** The mounted net-conf.json, flannel's `--net-config-path`; absent: the ConfigMap itself is read. */
  readonly networkFile?: string | undefined;
  /** The ConfigMap with net-conf.json; flannel's by default. */
  readonly configMap?: string | undefined;
  /** Its namespace; by default that of the credentials. */
  readonly namespace?: string | undefined;
  /** Whether to set the condition NetworkUnavailable: flannel's `--set-node-network-unavailable`. */
  readonly setNetworkUnavailable?: boolean | undefined;
};

/**
 * The cluster's facts in the Kubernetes API: Node objects with flannel's annotations, its ConfigMap, and
 * objects of our own kinds for resources and blocks.
 */
export class KubernetesStore implements Store {
  readonly network: KubernetesNetwork;
  readonly membership: KubernetesMembership;
  readonly feed: KubernetesFeed;
  readonly resources: KubernetesResources;
  readonly blocks: KubernetesBlocks;
  readonly duties: KubernetesDuties;
  readonly policies: KubernetesPolicies;
  readonly #client: KubernetesClient;
  readonly #closed = new AbortController();

  /** Throws CONFIG_INVALID. */
  constructor(access: Access, options: KubernetesStoreOptions, log: Log, check: CheckNetwork = () => {}) {
    const client = new KubernetesClient({ access });
    const keys = annotationKeys(options.annotationPrefix);
    const namespace = options.namespace ?? client.namespace;
    this.#client = client;
    this.duties = new KubernetesDuties(client, namespace, log);
    this.network = new KubernetesNetwork({
      client,
      log,
      check,
      namespace,
      configMap: options.configMap ?? DEFAULT_CONFIG_MAP,
      file: options.networkFile,
    });
    this.feed = new KubernetesFeed({ client, keys, network: this.network, log });
    this.blocks = new KubernetesBlocks(client);
    this.policies = new KubernetesPolicies(client, log);
    this.resources = new KubernetesResources(client, this.blocks, async () => {
      const { items } = await list(client, NODES, (object) => readNode(keys, object));
      return items.map(({ name, published }) => ({ name, addresses: published?.addresses ?? {} }));
    });
    this.membership = new KubernetesMembership({
      client,
      keys,
      feed: this.feed,
      resources: this.resources,
      log,
      announces: options.setNetworkUnavailable ?? true,
      signal: this.#closed.signal,
    });
  }

  close(): void {
    this.#closed.abort();
    this.feed.close();
    this.#client.close();
  }
}
