import type { LocalPod } from '../cluster/node.ts';

/** The pods that hang on this node, by attachment: what CNI did, as facts for the desired state. */
export class Pods {
  readonly #pods = new Map<string, LocalPod>();
  readonly #changed: () => void;

  /** `changed` is called after every change. */
  constructor(pods: Iterable<LocalPod>, changed: () => void) {
    for (const pod of pods) this.#pods.set(key(pod), pod);
    this.#changed = changed;
  }

  add(pod: LocalPod): void {
    this.#pods.set(key(pod), pod);
    this.#changed();
  }

  remove(pod: Pick<LocalPod, 'containerId' | 'ifName'>): void {
    if (this.#pods.delete(key(pod))) this.#changed();
  }

  list(): LocalPod[] {
    return [...this.#pods.values()];
  }
}

function key({ containerId, ifName }: Pick<LocalPod, 'containerId' | 'ifName'>): string {
  return `${containerId} ${ifName}`;
}
