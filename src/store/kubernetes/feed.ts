import { background } from '../../async/background.ts';
import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { excerpt, type Problem } from '../../problem.ts';
import type { ClusterFeed, ClusterView, LastView } from '../ports/feed.ts';
import { ClusterState } from './cluster-state.ts';
import { NODES } from './kinds.ts';
import type { KubernetesNetwork } from './network.ts';
import type { AnnotationKeys } from './node/keys.ts';
import { type NodeReading, readNode } from './node/read.ts';
import { OwnKinds } from './own-kinds.ts';
import { clusterProblems } from './problems.ts';

/** Called when `state` has changed, once it is complete. */
export type Follower = () => void;

/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 10;
/** Milliseconds that agents get to write their annotations again into an API that had lost all Nodes. */
const SETTLE = 5000;

export type FeedContext = {
  readonly client: KubernetesClient;
  readonly keys: AnnotationKeys;
  readonly network: KubernetesNetwork;
  readonly log: Log;
};

/** Keeps a ClusterState in step with the API while it has followers. */
export class KubernetesFeed implements ClusterFeed {
  readonly state = new ClusterState();
  readonly #context: FeedContext;
  readonly #followers = new Set<Follower>();
  readonly #closed = new AbortController();
  #running: AbortController | undefined;
  #nodes: Informer<NodeReading> | undefined;
  /** Under the `blocks` plan, and for BGP: what else the view consists of. */
  #kinds: OwnKinds | undefined;
  #isNetworkKnown = false;
  #synced = false;
  /** Why the network in the API is not the one in force. */
  #networkProblem: string | undefined;
  #networkTime: Date | undefined;
  /** Since when the API has no Node at all although there were some. */
  #lost: Date | undefined;

  constructor(context: FeedContext) {
    this.#context = context;
  }

  get problems(): readonly Problem[] {
    const { network } = this.#context;
    return clusterProblems(this.state, {
      outage: this.outage,
      lost: this.#lost,
      config: this.#networkProblem === undefined ? undefined : excerpt(this.#networkProblem),
      configTitle: network.title,
      configTime: this.#networkTime,
      unreadable: this.#kinds?.problems ?? new Map(),
      ignored: this.#kinds?.ignored ?? new Map(),
    });
  }

  /** Since when, and why, what is known may be out of date; undefined while the watches stand. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#nodes?.problem ?? this.#context.network.problem ?? this.#kinds?.outage;
  }

  /** Whether the API has lost its data: nobody is gone for that. */
  get hasLostData(): boolean {
    return this.#lost !== undefined;
  }

  /** Calls `follower` on each change, and once if the state is complete. Returns what ends this. */
  follow(follower: Follower): () => void {
    this.#followers.add(follower);
    if (this.#isComplete) queueMicrotask(follower);
    if (!this.#running && !this.#closed.signal.aborted) this.#start();
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#stop();
    };
  }

  async *watch(signal: AbortSignal, last?: LastView): AsyncIterable<ClusterView> {
    if (last) this.state.network ??= last.network;
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    let news = Promise.withResolvers<void>();
    const wake = (): void => news.resolve();
    const unfollow = this.follow(wake);
    ended.addEventListener('abort', wake);
    let yielded: ClusterView | undefined;
    try {
      while (!ended.aborted) {
        await news.promise;
        await pause(COALESCE, ended);
        news = Promise.withResolvers<void>();
        if (ended.aborted) return;
        if (this.hasLostData || !this.#isComplete) continue;
        const view = this.state.view();
        if (view && view !== yielded) yield view;
        yielded = view;
      }
    } finally {
      ended.removeEventListener('abort', wake);
      unfollow();
    }
  }

  /**
   * Returns the state of the whole cluster: the one that is followed, if that is complete within `patience`
   * milliseconds, else one that is read now.
   */
  async current(patience = 2000): Promise<ClusterState> {
    const known = await this.#known(patience);
    if (known) return known;
    const { client, keys, network } = this.#context;
    const state = new ClusterState();
    state.network = this.state.network ?? (await network.read());
    const { items } = await list(client, NODES, (object) => readNode(keys, object));
    for (const reading of items) state.set(reading);
    return state;
  }

  /** Ends every watch. */
  close(): void {
    this.#closed.abort();
    this.#stop();
  }

  get #isComplete(): boolean {
    return this.#synced && this.#isNetworkKnown && (this.#kinds?.isComplete ?? true);
  }

  async #known(patience: number): Promise<ClusterState | undefined> {
    if (!this.#running) return undefined;
    const complete = Promise.withResolvers<void>();
    const unfollow = this.follow(() => complete.resolve());
    const waiting = new AbortController();
    await Promise.race([complete.promise, pause(patience, waiting.signal)]);
    waiting.abort();
    unfollow();
    return this.#isComplete && !this.hasLostData && this.state.network ? this.state : undefined;
  }

  #start(): void {
    const { log } = this.#context;
    this.#running = new AbortController();
    const { signal } = this.#running;
    background('follow the nodes', this.#followNodes(signal), log, signal);
    background('follow the network', this.#followNetwork(signal), log, signal);
  }

  #stop(): void {
    this.#followers.clear();
    this.#running?.abort();
    this.#running = undefined;
    this.#nodes = undefined;
    this.#kinds = undefined;
    this.#synced = false;
    this.#isNetworkKnown = false;
  }

  async #followNodes(signal: AbortSignal): Promise<void> {
    const { client, keys, log } = this.#context;
    const informer = new Informer({
      client,
      resource: NODES,
      reduce: (object) => readNode(keys, object),
      log,
    });
    this.#nodes = informer;
    for await (const event of informer.events(signal)) {
      const before = this.state.size;
      if (event.type === 'synced') {
        this.state.reset(event.objects);
        this.#synced = true;
      } else if (event.type === 'set') {
        this.state.set(event.value);
        for (const problem of event.value.problems)
          log.warn({ node: event.key, problem: excerpt(problem) }, 'annotation ignored');
      } else {
        this.state.delete(event.key);
      }
      this.#noticeLoss(before, signal);
      this.#notify();
    }
  }

  /** No cluster loses its last Node while an agent runs on one: the API came back without its data. */
  #noticeLoss(before: number, signal: AbortSignal): void {
    const { log } = this.#context;
    if (this.state.size === 0 && before > 0 && !this.#lost) {
      log.error({}, 'the API server has lost its Nodes; keeping the last known state');
      this.#lost = new Date();
    } else if (this.#lost && before === 0 && this.state.size > 0) {
      background('trust the API server again', this.#endLoss(signal), log, signal);
    }
  }

  async #endLoss(signal: AbortSignal): Promise<void> {
    // The agents that come back first write their annotations while nobody believes that the others are gone.
    this.#notify();
    await pause(SETTLE, signal);
    this.#lost = undefined;
    this.#notify();
  }

  async #followNetwork(signal: AbortSignal): Promise<void> {
    const { network, log } = this.#context;
    for await (const text of network.follow(signal)) {
      this.#isNetworkKnown = true;
      this.#networkProblem = text === undefined ? '' : undefined;
      try {
        if (text !== undefined) {
          this.state.network = network.decode(text);
          this.#networkTime = new Date();
        }
        this.#followKinds(signal);
      } catch (error) {
        this.#networkProblem = messageOf(error);
        log.warn({ problem: excerpt(this.#networkProblem) }, 'the network configuration is ignored');
      }
      this.#notify();
    }
  }

  /** Nodes of other networks have no use for them, and need no CRDs. */
  #followKinds(signal: AbortSignal): void {
    const { client, log } = this.#context;
    const { network } = this.state;
    if (this.#kinds || (network?.addresses !== 'blocks' && network?.backend.type !== 'bgp')) return;
    this.#kinds = new OwnKinds(client, this.state, log);
    const running = this.#kinds.run(signal, () => this.#notify());
    background('follow resources and blocks', running, log, signal);
  }

  /** Tells the followers, unless only part of the cluster is known. */
  #notify(): void {
    if (!this.#isComplete) return;
    for (const follower of [...this.#followers]) follower();
  }
}
