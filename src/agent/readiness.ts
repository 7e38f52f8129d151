import type { Cidr } from '../ip/cidr.ts';
import type { Log } from '../log.ts';

const REMEMBERED = 'the store has not confirmed its subnets yet';

/** What has to be known before anything can be done. */
type Known = {
  readonly underlay: object | undefined;
  readonly network: object | undefined;
  readonly subnets: readonly Cidr[] | undefined;
};

/** Why a node can't take pods: the reasons of several parts, of which the first in the order of a start is the one told. */
export class Readiness {
  readonly #log: Log;
  #trouble = '';
  #kernel = 'the agent is starting';
  #doubt = '';
  #bgp: string | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Undefined when it can. */
  reason({ underlay, network, subnets }: Known): string | undefined {
    if (!underlay) return `no underlay: ${this.#trouble || 'no interface has been looked for yet'}`;
    if (!network) return `no network configuration: ${this.#trouble || 'the store has not answered yet'}`;
    if (!subnets) return `no subnet: ${this.#trouble || 'the store has not answered yet'}`;
    return this.#kernel || this.#doubt || this.#bgp;
  }

  /** What keeps the agent from knowing more. */
  trouble(reason: string): void {
    this.#trouble = reason;
  }

  /** What the kernel refuses of this node's own part; empty: nothing. */
  kernel(problem: string): void {
    if (problem !== this.#kernel && problem) this.#log.error({ problem }, 'not ready');
    this.#kernel = problem;
  }

  bgp(problem: string | undefined): void {
    this.#bgp = problem;
  }

  /** Whether somebody else may have our subnets, so that no pod may have an address of them. */
  get doubtful(): boolean {
    return this.#doubt !== '';
  }

  confirmed(): void {
    this.#doubt = '';
  }

  remembered(): void {
    this.#doubt = REMEMBERED;
  }

  lost(): void {
    this.#doubt = 'its subnets were taken by another node';
  }

  /** The store is away: what is remembered is all there is to go by. Returns whether that changes anything. */
  trustMemory(): boolean {
    if (this.#doubt !== REMEMBERED) return false;
    this.#doubt = '';
    return true;
  }
}
