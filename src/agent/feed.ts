import { join } from 'node:path';
import { Latest } from '../async/latest.ts';
import { untilDone } from '../async/until-done.ts';
import { configuredBackend } from '../backends/registry.ts';
import type { PerFamily } from '../cluster/node.ts';
import { messageOf } from '../error.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import { storeText } from '../store/open.ts';
import type { ClusterView } from '../store/ports/feed.ts';
import type { Store } from '../store/ports/store.ts';
import { readView, type SavedView, writeView } from '../store/view-file.ts';
import type { Facts } from './facts.ts';
import type { Handover } from './handover.ts';
import type { UnderlayWatch } from './underlay/watch.ts';

/** Minimum pause between writes of the view, in milliseconds: a large cluster changes constantly. */
const REST = 1000;

/**
 * Milliseconds after which the log names a store that does not answer: a request to an address where nothing
 * is takes several seconds to fail.
 */
const SILENCE = 1000;

export type FeedOptions = {
  readonly facts: Facts;
  readonly underlay: UnderlayWatch;
  readonly handover: Handover;
  readonly store: Pick<Store, 'network' | 'feed'>;
  readonly log: Log;
  readonly signal: AbortSignal;
};

/** Feeds the facts with the cluster: from the store, and at startup from the last view on disk. */
export class Feed {
  readonly #options: FeedOptions;
  readonly #viewFile: string;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#viewFile = join(options.facts.options.paths.state, 'view.json');
  }

  /**
   * Loads the last view, and this node's subnets in it, for a start while the store is unreachable.
   * `previous`: the subnets in subnet.env, which take precedence because that file is written as soon as they
   * change and the view only some time later.
   */
  async remember(previous: PerFamily<Cidr>): Promise<void> {
    const { facts, log } = this.#options;
    const ignored = (reason: string): void =>
      log.warn({ file: this.#viewFile, reason }, 'the saved view is ignored');
    const view = await readView(this.#viewFile, ignored);
    if (!view) return;
    try {
      configuredBackend(view.network);
    } catch (error) {
      // A newer release saved it.
      ignored(messageOf(error));
      return;
    }
    this.#options.handover.remember(view.formers);
    await this.#learn(view, false);
    const own = view.nodes.find(({ name }) => name === facts.options.node);
    const known = Object.values(previous);
    const subnets = known.length > 0 ? known : own?.subnets;
    if (subnets) facts.own.restore(subnets);
  }

  /** Follows the cluster in the store until the signal aborts, and keeps the newest view on disk. */
  async run(): Promise<void> {
    const { facts, handover, store, log, signal } = this.#options;
    // Disk failures are logged and not fatal. An agent that starts during an outage must know the changes
    // made just before it, so the first view after a quiet period is written at once, and the last one when
    // the agent stops.
    const write = (view: SavedView): Promise<void> => writeView(this.#viewFile, view);
    await using writer = new Latest('write the view', write, { log, rest: REST });
    if (!facts.network) {
      const timer = setTimeout(() => {
        log.warn({ store: storeText(facts.options.store) }, 'the store has not answered yet');
      }, SILENCE).unref();
      const network = await untilDone('read the network configuration', () => store.network.read(), {
        signal,
        log,
        failed: (reason) => {
          clearTimeout(timer);
          facts.setObstacle('network', reason);
        },
      }).finally(() => clearTimeout(timer));
      await handover.follow(network);
      facts.setNetwork(network);
    }
    let last: ClusterView | undefined;
    const save = (): void => {
      if (last) writer.push({ ...last, formers: handover.formers });
    };
    handover.on('changed', save);
    const { network, nodes = [] } = facts;
    for await (const view of store.feed.watch(signal, network && { network, nodes })) {
      await this.#learn(view, true);
      last = view;
      save();
    }
  }

  async #learn(view: ClusterView, complete: boolean): Promise<void> {
    const { facts, underlay, handover } = this.#options;
    await handover.follow(view.network, view.nodes, complete);
    // A narrower path must lower the MTU before the first packet takes it.
    await underlay.setPeers(view.nodes);
    facts.setCluster(view, complete);
  }
}
