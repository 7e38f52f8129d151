import type { OwnPod } from '../../policy/model/entity.ts';

/** A pod whose service account nothing is known of. */
export type Unaccounted = {
  /** The pod's. */
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  /** The account's. */
  readonly name: string;
};

/**
 * The service accounts of pods. No pod is made without its account: one that is not known has not been told
 * yet, or it has been deleted, in which case its pods go on without its labels.
 */
export class Accounts {
  readonly #all: () => ReadonlyMap<string, unknown> | undefined;
  /** Pods whose account was known once, or is known to be gone, with their UIDs. */
  readonly #settled = new Map<string, string>();
  readonly #lacking = new Map<string, Unaccounted>();

  /** `all`: by `namespace/name`; undefined while nobody tells of all, so that no pod lacks any. */
  constructor(all: () => ReadonlyMap<string, unknown> | undefined) {
    this.#all = all;
  }

  get lacking(): readonly Unaccounted[] {
    return [...this.#lacking.values()];
  }

  isLacking(key: string, { uid = '', namespace, serviceAccount: name }: OwnPod): boolean {
    const all = this.#all();
    if (all?.has(`${namespace}/${name}`)) this.#settled.set(key, uid);
    const isSettled = !all || this.#settled.get(key) === uid;
    if (isSettled) this.#lacking.delete(key);
    else this.#lacking.set(key, { key, uid, namespace, name });
    return !isSettled;
  }

  /** The account that a pod lacks is gone. */
  isGone({ key, uid }: Unaccounted): void {
    this.#settled.set(key, uid);
  }

  /** Forgets all pods but these. */
  keep(pods: Pick<ReadonlyMap<string, unknown>, 'has' | 'size'>): void {
    for (const all of [this.#settled, this.#lacking])
      if (all.size > 0) for (const key of all.keys()) if (!pods.has(key)) all.delete(key);
  }
}
