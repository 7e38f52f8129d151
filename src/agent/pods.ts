import type { LocalPod } from '../cluster/node.ts';

type Attachment = Pick<LocalPod, 'containerId' | 'ifName'>;

export type PodsChange = 'added' | 'removed';

/** The pods attached to this node, by attachment: the results of CNI calls as facts for the desired state. */
export class Pods {
  readonly #pods = new Map<string, LocalPod>();
  readonly #changed: (what: PodsChange) => void;
  #list: readonly LocalPod[] | undefined;
  #areComplete = false;

  /** `changed` is called after every change. */
  constructor(pods: Iterable<LocalPod>, changed: (what: PodsChange) => void) {
    for (const pod of pods) this.#pods.set(key(pod), pod);
    this.#changed = changed;
  }

  /** Whether a pod that is not among them is gone: no record is left that cannot be read. */
  get areComplete(): boolean {
    return this.#areComplete;
  }

  complete(): void {
    if (this.#areComplete) return;
    this.#areComplete = true;
    this.#changed('removed');
  }

  add(pod: LocalPod): void {
    this.#pods.set(key(pod), pod);
    this.#list = undefined;
    this.#changed('added');
  }

  remove(pod: Attachment): void {
    if (!this.#pods.delete(key(pod))) return;
    this.#list = undefined;
    this.#changed('removed');
  }

  /** Returns the same array until a pod is added or removed. */
  list(): readonly LocalPod[] {
    this.#list ??= [...this.#pods.values()];
    return this.#list;
  }
}

function key({ containerId, ifName }: Attachment): string {
  return `${containerId} ${ifName}`;
}
