import { pause } from '../../async/pause.ts';
import { decode, type Resource } from '../../cluster/calico/decode.ts';
import type { Kind } from '../../cluster/calico/document.ts';
import { codeOf, messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { newestVersion } from '../../kubernetes/api/list.ts';
import { isAbsence } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import { CALICO_TYPES, type CalicoKind } from './crds.ts';
import { FollowedKind } from './followed-kind.ts';
import { documentOf } from './resource-object.ts';

const [POOLS, ...OTHERS] = Object.keys(CALICO_TYPES) as [CalicoKind, ...CalicoKind[]];
const ALL = OTHERS.length + 1;

type Outage = { readonly since: Date; readonly reason: string };

/** Milliseconds between looks for kinds that are not served, or not ours to read: half a minute, about. */
const look = (): number => 20_000 + Math.random() * 20_000;
/** Milliseconds after which an API that does not answer is asked again. */
const RETRY = 2000;

/**
 * Calico's own objects, read-only, where the API serves them and lets us read them. Elsewhere nothing happens
 * but a request for its pools every half minute.
 */
export class CalicoKinds {
  readonly #client: KubernetesClient;
  readonly #log: Log;
  readonly #patience: number;
  /** Those that are followed, known or not. */
  readonly #followed = new Map<Kind, FollowedKind<Resource>>();
  /** Those whose objects are known. */
  #known = new Map<Kind, FollowedKind<Resource>>();
  /** Whether they no longer wait for the others. */
  #isDue = false;
  /** Those that count. */
  #kinds: ReadonlyMap<Kind, FollowedKind<Resource>> = new Map();
  #isAbsent = false;
  /** Since when, and why, it is not known whether they are served. */
  #unanswered: Outage | undefined;

  /** `patience`: the milliseconds that the kinds that are known wait for the others, to count at once. */
  constructor(client: KubernetesClient, log: Log, patience: number) {
    this.#client = client;
    this.#log = log;
    this.#patience = patience;
  }

  /** Whether all is known that is served. */
  get isComplete(): boolean {
    return this.#isAbsent || this.#kinds.size === ALL;
  }

  /** Since when, and why, what is known may be out of date or incomplete. */
  get outage(): Outage | undefined {
    const outages = [...this.#followed.values()].map(({ outage }) => outage);
    return outages.find((outage) => outage !== undefined) ?? this.#unanswered;
  }

  /** The objects of a kind; undefined if they do not count. */
  of(kind: Kind): FollowedKind<Resource> | undefined {
    return this.#kinds.get(kind);
  }

  /** Lets the kinds that are known count without the others. */
  settle(): void {
    this.#isDue = true;
    this.#kinds = this.#known;
  }

  /** Follows all kinds until `signal` aborts; `changed` is called after every change. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    do {
      const isServed = await this.#isServed(signal);
      if (isServed === undefined) continue;
      this.#isAbsent = !isServed;
      if (isServed) await this.#follow(signal, changed);
      else changed();
    } while (await pause(this.#isAbsent ? look() : RETRY, signal));
  }

  /** Undefined if the API does not answer. */
  async #isServed(signal: AbortSignal): Promise<boolean | undefined> {
    try {
      await newestVersion(this.#client, CALICO_TYPES[POOLS], { signal });
      this.#unanswered = undefined;
      return true;
    } catch (error) {
      if (isAbsence(error)) {
        this.#unanswered = undefined;
        return false;
      }
      this.#unanswered = { since: this.#unanswered?.since ?? new Date(), reason: messageOf(error) };
      this.#log.debug({ code: codeOf(error), reason: messageOf(error) }, 'cannot ask for Calico’s kinds');
      return undefined;
    }
  }

  /** Until its pools are served no more. */
  async #follow(signal: AbortSignal, changed: () => void): Promise<void> {
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    this.#known = new Map();
    this.#isDue = false;
    const start = (kind: CalicoKind): Promise<void> => {
      const followed = this.#newKind(kind);
      this.#followed.set(kind, followed);
      // What was known before counts until all is known anew.
      return followed.run(both, () => {
        this.#known.set(kind, followed);
        if (this.#known.size < ALL && !this.#isDue) return;
        this.#kinds = this.#known;
        changed();
      });
    };
    const waiting = pause(this.#patience, both).then((waited) => {
      if (!waited) return;
      this.settle();
      changed();
    });
    const again = async (kind: CalicoKind): Promise<void> => {
      do await start(kind);
      while (await pause(look(), both));
    };
    const others = OTHERS.map(again);
    await start(POOLS);
    ended.abort();
    await Promise.all([waiting, ...others]);
    if (signal.aborted) return;
    this.#followed.clear();
    this.#known = new Map();
    this.#kinds = this.#known;
    this.#isAbsent = true;
    changed();
  }

  #newKind(kind: CalicoKind): FollowedKind<Resource> {
    return new FollowedKind({
      client: this.#client,
      resource: CALICO_TYPES[kind],
      read: (object, ignored) => decode(documentOf(kind, object), '', ignored, ignored),
      log: this.#log,
      optional: true,
    });
  }
}
