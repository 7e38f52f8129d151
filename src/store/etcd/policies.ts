import { background } from '../../async/background.ts';
import type { Log } from '../../log.ts';
import type { NodeEntity } from '../../policy/model/entity.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import { excerpt, type Problem, warning } from '../../problem.ts';
import type { Kv } from '../kv/kv.ts';
import { Assembly } from '../policies/assembly.ts';
import { viewsOf } from '../policies/views.ts';
import type { PolicyFeed } from '../ports/policies.ts';
import type { EtcdFeed } from './feed.ts';
import type { Layout } from './layout.ts';
import type { EtcdPods } from './pods.ts';
import { PolicyTables } from './policy-tables.ts';
import { Replica } from './replica.ts';

/** Problems beyond this number are only counted. */
const SHOWN = 10;

/** Policies that were applied to the store, the pods that nodes publish there, and its nodes. */
export class EtcdPolicies implements PolicyFeed {
  readonly #kv: Kv;
  readonly #layout: Layout;
  readonly #feed: EtcdFeed;
  readonly #pods: EtcdPods;
  readonly #log: Log;
  #running: { readonly tables: PolicyTables; readonly replica: Replica } | undefined;

  /** `pods`: whose problems are those of policies, too. */
  constructor(kv: Kv, layout: Layout, feed: EtcdFeed, pods: EtcdPods, log: Log) {
    this.#kv = kv;
    this.#layout = layout;
    this.#feed = feed;
    this.#pods = pods;
    this.#log = log;
  }

  get problems(): readonly Problem[] {
    if (!this.#running) return [];
    const { tables, replica } = this.#running;
    const cause = replica.outage?.reason;
    const ignored = [...tables.problems].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const hidden = ignored.length - SHOWN;
    return [
      ...(cause === undefined
        ? []
        : [warning('store-unreachable', 'policies may be out of date', excerpt(cause, 400))]),
      ...ignored.slice(0, SHOWN).map(([key, why]) => {
        const what = `${excerpt(key, 120)} is ignored`;
        return warning('store-key-ignored', what, excerpt(why), 'correct or delete it');
      }),
      ...this.#pods.problems,
      ...(hidden > 0 ? [warning('store-key-ignored', `${hidden} more values in the store are ignored`)] : []),
    ];
  }

  async *watch(signal: AbortSignal): AsyncIterable<PolicyView> {
    const { config, policies } = this.#layout;
    const tables = new PolicyTables(policies);
    const proof = { key: config, guards: policies.objects };
    const options = { kv: this.#kv, prefix: policies.root, proof, log: this.#log };
    const replica = new Replica(options);
    this.#running = { tables, replica };
    const assembly = new Assembly(tables);
    const ended = new AbortController();
    const unfollow: (() => void)[] = [];
    try {
      yield* viewsOf((until, wake) => {
        unfollow.push(this.#followNodes(tables, wake));
        const learn = (keys: readonly string[]): void => {
          for (const key of keys) tables.learn(key, replica.items.get(key));
          wake();
        };
        const both = AbortSignal.any([until, ended.signal]);
        background('follow policies', replica.run(both, learn), this.#log, both);
        return {
          get isComplete() {
            return replica.isListed && tables.nodes.values.size > 0;
          },
          view: () => assembly.view(),
        };
      }, signal);
    } finally {
      ended.abort();
      for (const end of unfollow) end();
      this.#running = undefined;
    }
  }

  #followNodes(tables: PolicyTables, wake: () => void): () => void {
    return this.#feed.follow(() => {
      const nodes = this.#feed.state.view()?.nodes;
      if (!nodes) return;
      const all = nodes.map(({ name, labels, addresses, senders = [] }): [string, NodeEntity] => {
        const own = [...new Set([...Object.values(addresses), ...senders])];
        return [name, { kind: 'node', name, labels, addresses: own }];
      });
      if (tables.nodes.replace(new Map(all))) wake();
    });
  }
}
