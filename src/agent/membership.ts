import type { Node, NodeFacts, PerFamily } from '../cluster/node.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';
import type { Claim } from '../store/ports/membership.ts';
import type { Store } from '../store/ports/store.ts';
import { aborted } from './aborted.ts';
import { untilDone } from './retry.ts';

export type MembershipOptions = {
  readonly store: Store;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** The facts to publish now, or undefined while they are not known (no underlay, no network configuration). */
  readonly facts: () => Node | undefined;
  readonly previous: PerFamily<Cidr>;
  /** The subnets that are this node's from now on. */
  readonly onSubnets: (subnets: readonly Cidr[]) => void;
  /** Why this node has no subnets yet. */
  readonly onProblem: (reason: string, error: unknown) => void;
  /** The subnets are another node's now. */
  readonly onLost: () => void;
};

/** This node's place in the cluster: takes its subnets, keeps what peers see of it current, and takes them again when they are lost. */
export class Membership {
  readonly #options: MembershipOptions;
  #claim: Claim | undefined;
  #published = '';
  #updating: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  get joined(): boolean {
    return this.#claim !== undefined;
  }

  /** Joins, and joins again whenever the subnets are lost, until the signal aborts; the lease then stays and runs out by itself. */
  async run(): Promise<void> {
    const { store, signal, log, onSubnets, onProblem, onLost } = this.#options;
    let previous = this.#options.previous;
    while (!signal.aborted) {
      const facts = await this.#factsKnown();
      const claim = await untilDone('take a subnet', () => store.membership.join(facts, previous), {
        signal,
        log,
        failed: onProblem,
      });
      this.#claim = claim;
      this.#published = JSON.stringify(withoutSubnets(facts));
      onSubnets(claim.subnets);
      this.update();
      const lost = claim.lost.catch((error: unknown) => error);
      const ended = await Promise.race([lost, aborted(signal)]);
      claim.stop();
      this.#claim = undefined;
      if (signal.aborted) return;
      log.error({ error: ended }, 'another node holds our subnets; taking new ones');
      onLost();
      // What was lost is held by someone else: asking for it again would only be refused.
      previous = {};
    }
  }

  /** Publishes the facts when they differ from what peers have been told. Failures are tried again. */
  update(): void {
    this.#wake();
    this.#updating = this.#updating.then(() => this.#publish());
  }

  async #publish(): Promise<void> {
    const { log, signal, facts } = this.#options;
    const claim = this.#claim;
    try {
      await untilDone(
        'publish this node',
        async () => {
          const node = facts();
          if (!node || this.#claim !== claim || !claim) return;
          const text = JSON.stringify(withoutSubnets(node));
          if (text === this.#published) return;
          await claim.publish(withoutSubnets(node));
          this.#published = text;
          log.info({ addresses: node.addresses, backend: node.backend }, 'told the peers');
        },
        { signal, log },
      );
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #factsKnown(): Promise<Node> {
    for (;;) {
      const facts = this.#options.facts();
      if (facts) return facts;
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        this.#options.signal.addEventListener('abort', () => reject(this.#options.signal.reason), {
          once: true,
        });
      });
    }
  }
}

function withoutSubnets({ subnets: _, ...facts }: Node): NodeFacts {
  return facts;
}
