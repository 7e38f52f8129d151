import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../async/latest.ts';
import { aborted } from '../async/pause.ts';
import { untilDone } from '../async/until-done.ts';
import type { Node, NodeFacts, PerFamily } from '../cluster/node.ts';
import { codeOf, messageOf } from '../error.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import { storeTtl } from '../store/open.ts';
import type { Claim, Membership as Port } from '../store/ports/membership.ts';
import type { Facts } from './facts.ts';
import type { Tenure } from './store-status.ts';

/** Errors that need a human to fix, so the agent fails instead of retrying. */
const HOPELESS = ['NAME_TAKEN', 'NAME_INVALID'] as const;

export type MembershipOptions = {
  readonly cluster: Port;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The subnets this node had before, requested again. */
  readonly previous: PerFamily<Cidr>;
  /** Why peers must not hear of this node as it is now; undefined if they may. Default: they may. */
  readonly withheld?: () => string | undefined;
};

/**
 * This node's membership in the cluster: claims its subnets, keeps its published facts current, and claims
 * new subnets when they are lost.
 */
export class Membership {
  readonly #facts: Facts;
  readonly #options: MembershipOptions;
  readonly #publishing: Latest<Claim>;
  #claim: Claim | undefined;
  /** Since when there is no claim. */
  #vacant: Date | undefined = new Date();
  #published: NodeFacts | undefined;
  /** The backend that this node's kernel is set up for. */
  #ready: Node['backend'] | undefined;

  constructor(facts: Facts, options: MembershipOptions) {
    this.#facts = facts;
    this.#options = options;
    const { log, signal } = options;
    const publish = (claim: Claim, superseded: AbortSignal) => this.#publish(claim, superseded);
    this.#publishing = new Latest('publish this node', publish, { log, signal });
    facts.on('changed', () => this.#update());
  }

  /**
   * The kernel holds this node's own part. Peers use a backend as soon as they see it, so a new one isn't
   * published earlier.
   */
  settled({ backend }: Node): void {
    if (this.#ready === backend || this.#options.withheld?.() !== undefined) return;
    this.#ready = backend;
    this.#update();
  }

  get tenure(): Tenure {
    const { own, options } = this.#facts;
    const ttl = storeTtl(options.store);
    return { standing: own.standing, renewal: this.#claim?.renewal, vacant: this.#vacant, ttl };
  }

  /**
   * Joins, and rejoins whenever the subnets are lost, until the signal aborts. The lease then stays until it
   * expires.
   */
  async run(): Promise<void> {
    const { cluster, signal, log } = this.#options;
    let { previous } = this.#options;
    while (!signal.aborted) {
      const node = this.#publishable(await this.#nodeKnown());
      const claim = await untilDone('take a subnet', () => cluster.join(node, previous), {
        signal,
        log,
        hopeless: HOPELESS,
        failed: (reason, error) => this.#failed(reason, error),
      });
      this.#claim = claim;
      this.#vacant = undefined;
      this.#published = node;
      this.#facts.confirmSubnets(claim.subnets);
      const lost = claim.lost.catch((error: unknown) => error);
      const ended = await Promise.race([lost, aborted(signal)]);
      claim.stop();
      this.#claim = undefined;
      this.#vacant = new Date();
      if (signal.aborted) return;
      log.error({ error: ended }, 'this node has lost its subnets; claiming new ones');
      this.#facts.loseSubnets(messageOf(ended));
      // Requesting the lost subnets again would only be refused.
      previous = {};
    }
  }

  #failed(reason: string, error: unknown): void {
    this.#facts.setObstacle('subnets', reason);
    if (codeOf(error) === 'STORE_UNAVAILABLE') this.#facts.own.trustMemory();
  }

  /** Publishes the facts when they differ from what was published last. */
  #update(): void {
    if (this.#claim) this.#publishing.push(this.#claim);
  }

  async #publish(claim: Claim, superseded: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const work = async (): Promise<void> => {
      const self = this.#facts.published;
      if (!self || this.#claim !== claim) return;
      const node = this.#publishable(self);
      if (isDeepStrictEqual(node, this.#published)) return;
      await claim.publish(node);
      this.#published = node;
      log.info({ addresses: node.addresses, backend: node.backend }, 'published this node');
    };
    await untilDone('publish this node', work, { signal: superseded, log });
  }

  /**
   * This node with the backend that its peers know, until its kernel is set up for a new one. It may have
   * changed while the agent was down.
   */
  #publishable({ subnets: _, ...node }: Node): NodeFacts {
    const known = this.#published ?? this.#facts.nodes?.find(({ name }) => name === node.name);
    const isReady = !known || isDeepStrictEqual(node.backend, this.#ready);
    return isReady ? node : { ...node, backend: known.backend };
  }

  /**
   * Waits until this node's published facts are known, and the cluster's nodes: this one's own entry tells of
   * a backend that its kernel may still hold, and is overwritten by joining.
   */
  async #nodeKnown(): Promise<Node> {
    const { signal } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      const node = this.#facts.nodes && this.#node();
      if (node && !this.#isWithheld(node)) return node;
      await once(this.#facts, 'changed', { signal });
    }
  }

  /** A node that peers know already stays as they know it (`#publishable`). */
  #isWithheld({ name }: Node): boolean {
    const reason = this.#options.withheld?.();
    if (reason === undefined || this.#facts.nodes?.some((node) => node.name === name)) return false;
    this.#facts.setObstacle('subnets', reason);
    return true;
  }

  /** A network that this release does not understand may still be fixed in the store, so it is not fatal. */
  #node(): Node | undefined {
    try {
      return this.#facts.published;
    } catch (error) {
      this.#facts.setObstacle('network', messageOf(error));
      return undefined;
    }
  }
}
