import { pause } from '../../async/pause.ts';
import { collect, decode, type Resource } from '../../cluster/calico/decode.ts';
import { KINDS, type Kind } from '../../cluster/calico/document.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import type { Log } from '../../log.ts';
import { excerpt } from '../../problem.ts';
import type { Affinity } from '../ports/blocks.ts';
import { affinityOf } from './block-object.ts';
import { CalicoKinds } from './calico-kinds.ts';
import type { ClusterState } from './cluster-state.ts';
import { BLOCK_AFFINITIES, RESOURCE_TYPES } from './crds.ts';
import { FollowedKind } from './followed-kind.ts';
import { documentOf } from './resource-object.ts';

/** Milliseconds that Calico's kinds have, once ours are known, to be known as well. */
const PATIENCE = 10_000;

type Dated = { readonly affinity: Affinity; readonly created: number };

/**
 * Keeps the resources and blocks of a ClusterState in step with the objects of our own kinds, and with
 * Calico's where there are none of ours: of each kind, either ours count or Calico's.
 */
export class OwnKinds {
  readonly #state: ClusterState;
  readonly #own: ReadonlyMap<Kind, FollowedKind<Resource>>;
  readonly #affinities: FollowedKind<Dated>;
  readonly #calico: CalicoKinds;
  readonly #patience: number;
  /** Set when ours are known. */
  #waiting: Promise<void> | undefined;
  #hasWaited = false;

  constructor(client: KubernetesClient, state: ClusterState, log: Log, patience = PATIENCE) {
    this.#state = state;
    this.#patience = patience;
    const follow = (kind: Kind): FollowedKind<Resource> =>
      new FollowedKind({
        client,
        resource: RESOURCE_TYPES[kind],
        read: (object) => decode(documentOf(kind, object), '', () => {}),
        log,
      });
    this.#own = new Map(KINDS.map((kind) => [kind, follow(kind)]));
    this.#affinities = new FollowedKind({
      client,
      resource: BLOCK_AFFINITIES,
      read: (object) => ({
        affinity: affinityOf(object),
        created: Date.parse(String(object.metadata.creationTimestamp)) || 0,
      }),
      log,
    });
    this.#calico = new CalicoKinds(client, log, patience);
  }

  /**
   * Whether all objects are known: Calico's as well at the start, unless that takes too long. What comes
   * later, or fails later, holds nothing up.
   */
  get isComplete(): boolean {
    return this.#isOwnKnown && (this.#hasWaited || this.#calico.isComplete);
  }

  /** Since when, and why, what is known may be out of date, or lacks objects of Calico's. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    const outages = this.#all.map(({ outage }) => outage);
    return outages.find((outage) => outage !== undefined) ?? this.#calico.outage;
  }

  /** Objects that cannot be read, and why; their last good values stay in force. */
  get problems(): ReadonlyMap<string, string> {
    const affinities = titled(BLOCK_AFFINITIES.kind, this.#affinities.problems);
    return new Map([
      ...KINDS.flatMap((kind) => this.#inForce(kind, ({ problems }) => problems)),
      ...affinities,
    ]);
  }

  /** Fields of objects that mean nothing here. */
  get ignored(): ReadonlyMap<string, string> {
    return new Map(KINDS.flatMap((kind) => this.#inForce(kind, ({ ignored }) => ignored)));
  }

  /** Follows all kinds until `signal` aborts; `changed` is called after every change. */
  async run(signal: AbortSignal, changed: () => void): Promise<void> {
    const tell = (): void => {
      if (this.#isOwnKnown) this.#waiting ??= this.#wait(signal, gather);
      this.#hasWaited ||= this.isComplete;
      changed();
    };
    const gather = (): void => {
      const values = KINDS.flatMap((kind) => [...(this.#source(kind)?.values.values() ?? [])]);
      this.#state.resources = collect(values, this.#state.resources);
      tell();
    };
    const learn = (keys: readonly string[]): void => {
      for (const key of keys) {
        const value = this.#affinities.values.get(key);
        this.#state.blocks.set(key, value?.affinity, value?.created);
      }
      tell();
    };
    await Promise.all([
      ...[...this.#own.values()].map((kind) => kind.run(signal, gather)),
      this.#affinities.run(signal, learn),
      this.#calico.run(signal, gather),
    ]);
  }

  async #wait(signal: AbortSignal, gather: () => void): Promise<void> {
    if (!(await pause(this.#patience, signal)) || this.#hasWaited) return;
    this.#hasWaited = true;
    this.#calico.settle();
    gather();
  }

  get #isOwnKnown(): boolean {
    return this.#all.every(({ isKnown }) => isKnown);
  }

  get #all(): readonly FollowedKind<unknown>[] {
    return [...this.#own.values(), this.#affinities];
  }

  /** Whose objects of a kind count. */
  #source(kind: Kind): FollowedKind<Resource> | undefined {
    const own = this.#own.get(kind);
    return own?.hasObjects ? own : (this.#calico.of(kind) ?? own);
  }

  #inForce(
    kind: Kind,
    of: (kind: FollowedKind<Resource>) => ReadonlyMap<string, string>,
  ): [title: string, text: string][] {
    const source = this.#source(kind);
    if (!source) return [];
    return titled(
      source === this.#own.get(kind) ? RESOURCE_TYPES[kind].kind : `Calico’s ${kind}`,
      of(source),
    );
  }
}

function titled(kind: string, texts: ReadonlyMap<string, string>): [title: string, text: string][] {
  return [...texts].map(([key, text]) => [`${kind} ${excerpt(key, 120)}`, text]);
}
