import type { Log } from '../../log.ts';
import type { Kv } from '../kv/kv.ts';
import type { CheckNetwork } from '../ports/network.ts';
import type { Store } from '../ports/store.ts';
import { EtcdBlocks } from './blocks.ts';
import { EtcdFeed } from './feed.ts';
import { DEFAULT_PREFIX, Layout } from './layout.ts';
import { EtcdMembership } from './membership.ts';
import { EtcdNetwork } from './network.ts';
import { EtcdPods } from './pods.ts';
import { EtcdPolicies } from './policies.ts';
import { EtcdPolicyObjects } from './policy-objects.ts';
import { EtcdResources } from './resources.ts';

/** flannel's, in seconds: a node may be away for a day. */
export const LEASE_TTL = 86_400;

export type EtcdStoreOptions = {
  /** flannel's `--etcd-prefix`; `/coreos.com/network` by default. */
  readonly prefix?: string | undefined;
  /** Lease TTL in seconds; `LEASE_TTL` by default. */
  readonly leaseTtl?: number | undefined;
  /** Milliseconds within which a live agent must answer a challenge to its node's name. */
  readonly answerTime?: number;
};

/** The cluster's facts in flannel's etcd layout, with our additions below `<prefix>/flatnet/`. */
export class EtcdStore implements Store {
  readonly network: EtcdNetwork;
  readonly membership: EtcdMembership;
  readonly feed: EtcdFeed;
  readonly resources: EtcdResources;
  readonly blocks: EtcdBlocks;
  readonly policies: EtcdPolicies;
  readonly pods: EtcdPods;
  readonly policyObjects: EtcdPolicyObjects;
  readonly #kv: Kv;
  readonly #closed = new AbortController();

  constructor(kv: Kv, options: EtcdStoreOptions, log: Log, check: CheckNetwork = () => {}) {
    const prefix = options.prefix ?? DEFAULT_PREFIX;
    const layout = new Layout(prefix);
    const ttl = options.leaseTtl ?? LEASE_TTL;
    this.#kv = kv;
    this.network = new EtcdNetwork(kv, layout, check);
    this.feed = new EtcdFeed(kv, layout, log, check);
    this.blocks = new EtcdBlocks(kv, prefix);
    this.resources = new EtcdResources(kv, layout, this.blocks);
    this.pods = new EtcdPods(kv, layout.policies, ttl, log);
    this.policies = new EtcdPolicies(kv, layout, this.feed, this.pods, log);
    this.policyObjects = new EtcdPolicyObjects(kv, layout.policies);
    this.membership = new EtcdMembership({
      kv,
      layout,
      log,
      check,
      feed: this.feed,
      resources: this.resources,
      ttl,
      answerTime: options.answerTime ?? 3_000,
      signal: this.#closed.signal,
    });
  }

  close(): void {
    this.#closed.abort();
    this.feed.close();
    this.#kv.close();
  }
}
