import type { PolicyDocument, PolicyObjectId } from '../../policy/document.ts';
import type { OwnPod } from '../../policy/model/entity.ts';
import type { PolicyView } from '../../policy/model/view.ts';
import type { Problem } from '../../problem.ts';
import type { ApplyOutcome } from './resources.ts';

/** Network policies, and whom they are about, as they change. */
export interface PolicyFeed {
  /**
   * Yields all that policies depend on once it is known, then again after every change (changes close
   * together are combined). Reconnects automatically; yields nothing while the store is unreachable: what was
   * last known stays in force. Ends when `signal` aborts.
   */
  watch(signal: AbortSignal): AsyncIterable<PolicyView>;
  /** What keeps the views from being complete and current, while someone watches. */
  readonly problems: readonly Problem[];
  /** Which versions of API groups they are read from, while someone watches. Absent: the store's own. */
  readonly origins?: readonly string[];
}

/** A node's own pods. `areAll`: none is missing. */
export type NodePods = { readonly pods: readonly OwnPod[]; readonly areAll: boolean };

/** What nodes tell a store of their pods. */
export interface PodRegistry {
  /**
   * Keeps the store knowing a node's pods until `signal` aborts, whoever changes them there, and as soon as
   * it is reachable; afterwards they go with the node, or when it is forgotten. `pods`: undefined while they
   * are not to be told. Returns what is to be called when these have changed.
   */
  keep(node: string, pods: () => NodePods | undefined, signal: AbortSignal): () => void;
}

/** Policies as users apply them, and what belongs to policies. */
export interface PolicyObjects {
  /** `warn` gets what is there and cannot be read. */
  list(warn: (problem: string) => void): Promise<readonly PolicyDocument[]>;
  /** Replaces what has its name. The document has been checked. */
  apply(document: PolicyDocument): Promise<ApplyOutcome>;
  /** Whether it was there. */
  delete(id: PolicyObjectId): Promise<boolean>;
}
