import type { Ip } from '../../ip/address.ts';
import type { PodEntity } from './entity.ts';

/** Whose an address certainly is; undefined: nobody's that is known. */
export type Certain = ReadonlyMap<Ip, PodEntity | undefined>;

const NOTHING: Certain = new Map();

/**
 * Leaves each address to one pod. The API may still tell of a pod whose address is its successor's already:
 * of several, it is the one that is not being deleted, and of these the one that was begun with last.
 */
export class Holders {
  /** Pods that have lost addresses, with the rest: the same objects as long as nothing changes. */
  readonly #left = new WeakMap<PodEntity, PodEntity>();

  /** `certain`: what need not be concluded. Pods that lose nothing stay the same objects. */
  settle(pods: readonly PodEntity[], certain: Certain = NOTHING): readonly PodEntity[] {
    const holders = new Map<Ip, PodEntity>();
    let isContested = certain.size > 0;
    for (const pod of pods)
      for (const ip of pod.addresses) {
        const other = holders.get(ip);
        if (other && other !== pod) isContested = true;
        if (!other || isAfter(pod, other)) holders.set(ip, pod);
      }
    if (!isContested) return pods;
    const isHeld = (ip: Ip, pod: PodEntity): boolean =>
      (certain.has(ip) ? certain.get(ip) : holders.get(ip)) === pod;
    return pods.map((pod) => {
      if (pod.addresses.every((ip) => isHeld(ip, pod))) return pod;
      return this.#without(
        pod,
        pod.addresses.filter((ip) => isHeld(ip, pod)),
      );
    });
  }

  #without(pod: PodEntity, addresses: readonly Ip[]): PodEntity {
    const known = this.#left.get(pod);
    if (known && known.addresses.join() === addresses.join()) return known;
    const left = { ...pod, addresses };
    this.#left.set(pod, left);
    return left;
  }
}

/** Whether a pod got an address that both have had after the other did. */
function isAfter(pod: PodEntity, other: PodEntity): boolean {
  if (pod.isEnding !== other.isEnding) return other.isEnding === true;
  const [since, before] = [pod.since ?? '', other.since ?? ''];
  if (since !== before) return since > before;
  return nameOf(pod) > nameOf(other);
}

function nameOf({ namespace, name, uid }: PodEntity): string {
  return `${uid} ${namespace}/${name}`;
}
