import { background } from '../../async/background.ts';
import { pause } from '../../async/pause.ts';
import { messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { servedKinds } from '../../kubernetes/api/discovery.ts';
import type { Log } from '../../log.ts';
import type { Outage, PolicyKind } from './policy-kind.ts';

/**
 * Milliseconds between looks: while it is not certain that a kind is not served, and then. So long, too, must
 * a kind be missing: one that was not there before, and one that was.
 */
export const LOOKS: Looks = [2000, 60_000];

export type Looks = readonly [soon: number, later: number];

type Kind = Pick<PolicyKind<object>, 'resource' | 'isKnown' | 'run' | 'none'>;

/**
 * Follows kinds of one version of an API group where the server has them, be they ours to read or not: what
 * is forbidden is not known, and that is an outage.
 */
export class ServedKinds {
  readonly #client: Pick<KubernetesClient, 'call'>;
  readonly #log: Log;
  readonly #kinds: readonly Kind[];
  readonly #companions: readonly Kind[];
  readonly #looks: Looks;
  readonly #following = new Map<Kind, AbortController>();
  /** Since when, by `performance.now()`, a kind has not been served. */
  readonly #absences = new Map<Kind, number>();
  /** Those that the server does not have. */
  readonly #absent = new Set<Kind>();
  #outage: Outage | undefined;

  /** `companions`: kinds of other groups, followed while any of these is. */
  constructor(
    kinds: readonly Kind[],
    options: {
      readonly client: Pick<KubernetesClient, 'call'>;
      readonly log: Log;
      readonly companions?: readonly Kind[];
      readonly looks?: Looks;
    },
  ) {
    this.#client = options.client;
    this.#log = options.log;
    this.#kinds = kinds;
    this.#companions = options.companions ?? [];
    this.#looks = options.looks ?? LOOKS;
  }

  /** Since when it is not known, and why, what the server has. */
  get outage(): Outage | undefined {
    return this.#outage;
  }

  /** Whether the server has any of them. */
  get isAny(): boolean {
    return this.#kinds.some((kind) => this.#following.has(kind));
  }

  /** Until `signal` aborts. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    const [soon, later] = this.#looks;
    do {
      const served = await this.#look(signal);
      if (served) this.#act(served, signal, changed);
    } while (await pause(this.#isDecided ? later * (0.5 + Math.random() / 2) : soon + 10, signal));
  }

  /** The plural names of what is served; undefined if the server does not say. */
  async #look(signal: AbortSignal): Promise<ReadonlySet<string> | undefined> {
    const [first] = this.#kinds;
    if (!first) return new Set();
    try {
      const served = await servedKinds(this.#client, first.resource, { signal });
      this.#outage = undefined;
      return served;
    } catch (error) {
      this.#outage = { since: this.#outage?.since ?? new Date(), reason: messageOf(error) };
      return undefined;
    }
  }

  #act(served: ReadonlySet<string>, signal: AbortSignal, changed: () => void): void {
    for (const kind of this.#kinds) this.#decide(kind, served.has(kind.resource.plural), signal, changed);
    for (const kind of this.#companions) this.#decide(kind, this.isAny, signal, changed);
  }

  #decide(kind: Kind, isServed: boolean, signal: AbortSignal, changed: () => void): void {
    const before = this.#following.get(kind);
    if (isServed) {
      this.#absences.delete(kind);
      this.#absent.delete(kind);
      if (before) return;
      const ended = new AbortController();
      this.#following.set(kind, ended);
      const both = AbortSignal.any([signal, ended.signal]);
      background(`follow ${kind.resource.plural}`, kind.run(both, changed), this.#log, both);
      return;
    }
    if (this.#absent.has(kind)) return;
    // A server that has just started lacks what it has not read yet.
    const now = performance.now();
    const since = this.#absences.get(kind) ?? now;
    this.#absences.set(kind, since);
    const [soon, later] = this.#looks;
    if (now - since < (before ? later : soon)) return;
    before?.abort();
    this.#following.delete(kind);
    this.#absent.add(kind);
    kind.none(changed);
  }

  get #isDecided(): boolean {
    return [...this.#kinds, ...this.#companions].every(
      (kind) => this.#absent.has(kind) || (this.#following.has(kind) && !this.#absences.has(kind)),
    );
  }
}
