import { join } from 'node:path';
import { Latest } from '../async/latest.ts';
import { untilDone } from '../async/until-done.ts';
import type { PerFamily } from '../cluster/node.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import type { Store } from '../store/ports/store.ts';
import { readView, writeView } from '../store/view-file.ts';
import type { Facts } from './facts.ts';
import type { Handover } from './handover.ts';
import type { UnderlayWatch } from './underlay/watch.ts';

/** Milliseconds between writes of the view at least: in a large cluster something changes all the time. */
const REST = 1000;

export type FeedOptions = {
  readonly facts: Facts;
  readonly underlay: UnderlayWatch;
  readonly handover: Handover;
  readonly store: Pick<Store, 'network' | 'feed'>;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/** What this node learns of the cluster: from the store, and at a start from what it saw there last. */
export class Feed {
  readonly #options: FeedOptions;
  readonly #viewFile: string;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#viewFile = join(options.facts.options.paths.state, 'view.json');
  }

  /**
   * For a start while the store is away: the last good view, and the subnets of this node in it, are as good
   * as any. `previous`: those in subnet.env, which is written as soon as they change, while the view is
   * written some time later.
   */
  async remember(previous: PerFamily<Cidr>): Promise<void> {
    const { facts } = this.#options;
    const view = await readView(this.#viewFile);
    if (!view) return;
    await this.#learn(view, false);
    const own = view.nodes.find(({ name }) => name === facts.options.node);
    const told = Object.values(previous);
    const subnets = told.length > 0 ? told : own?.subnets;
    if (subnets) facts.restoreSubnets(subnets);
  }

  /** Follows the cluster in the store until the signal aborts, and keeps the newest view on disk. */
  async run(): Promise<void> {
    const { facts, handover, store, log, signal } = this.#options;
    // A disk that fails is told, and is no reason to stop. What changed just before an outage must be known
    // to an agent that starts in it, so after a quiet time a view is written at once, and when the agent
    // stops too.
    const write = (view: ClusterView): Promise<void> => writeView(this.#viewFile, view);
    await using writer = new Latest('write the view', write, { log, rest: REST });
    const network = await untilDone('read the network configuration', () => store.network.read(), {
      signal,
      log,
      failed: (reason) => facts.setObstacle(reason),
    });
    await handover.follow(network.backend.type);
    facts.setNetwork(network);
    for await (const view of store.feed.watch(signal)) {
      await this.#learn(view, true);
      writer.push(view);
    }
  }

  async #learn(view: ClusterView, complete: boolean): Promise<void> {
    const { facts, underlay, handover } = this.#options;
    await handover.follow(view.network.backend.type);
    // A narrower way must count before the first packet takes it.
    await underlay.setPeers(view.nodes);
    facts.setCluster(view, complete);
  }
}
