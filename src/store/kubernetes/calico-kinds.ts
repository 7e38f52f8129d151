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
  /** As far as their objects are known. */
  #kinds = new Map<Kind, FollowedKind<Resource>>();
  #isAbsent = false;

  constructor(client: KubernetesClient, log: Log) {
    this.#client = client;
    this.#log = log;
  }

  /** Whether all is known that is served. */
  get isComplete(): boolean {
    if (this.#isAbsent) return true;
    return this.#kinds.size === OTHERS.length + 1;
  }

  /** Since when, and why, what is known may be out of date. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    return [...this.#kinds.values()].map(({ outage }) => outage).find((outage) => outage !== undefined);
  }

  /** The objects of a kind; undefined if it is not followed. */
  of(kind: Kind): FollowedKind<Resource> | undefined {
    return this.#kinds.get(kind);
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
      return true;
    } catch (error) {
      if (isAbsence(error)) return false;
      this.#log.debug({ code: codeOf(error), reason: messageOf(error) }, 'cannot ask for Calico’s kinds');
      return undefined;
    }
  }

  /** Until its pools are served no more. */
  async #follow(signal: AbortSignal, changed: () => void): Promise<void> {
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    const start = (kind: CalicoKind): Promise<void> => {
      const followed = this.#followed(kind);
      // What was known before counts until all is known anew.
      return followed.run(both, () => {
        this.#kinds.set(kind, followed);
        changed();
      });
    };
    const again = async (kind: CalicoKind): Promise<void> => {
      do await start(kind);
      while (await pause(look(), both));
    };
    const others = OTHERS.map(again);
    await start(POOLS);
    ended.abort();
    await Promise.all(others);
    if (signal.aborted) return;
    this.#kinds = new Map();
    this.#isAbsent = true;
    changed();
  }

  #followed(kind: CalicoKind): FollowedKind<Resource> {
    return new FollowedKind({
      client: this.#client,
      resource: CALICO_TYPES[kind],
      read: (object, ignored) => decode(documentOf(kind, object), '', ignored, ignored),
      log: this.#log,
      optional: true,
    });
  }
}
