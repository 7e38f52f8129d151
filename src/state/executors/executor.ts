import type { Change, Item, KernelState } from '../item.ts';

/**
 * Reads and changes the kernel, or whatever else holds items, in one language. It knows the kinds whose
 * `executor` names it, and of each what the interface in `protocols/` asks for. All of it in one network
 * namespace.
 */
export interface Executor {
  /** The wanted items that are held, and others that are ours. */
  read(desired: KernelState): Promise<readonly Item[]>;
  /** Each item as it is held now; undefined if it is not, or cannot be read on its own. */
  look(items: readonly Item[]): Promise<readonly (Item | undefined)[]>;
  /**
   * Makes changes of one stage. One that fails does not stop the rest, unless they go in one transaction. The
   * answers in order: undefined for what was done.
   */
  apply(changes: readonly Change[]): Promise<readonly (Error | undefined)[]>;
  /**
   * Reports what others change against the desired state, until the signal aborts. Listens from the moment it
   * is called.
   */
  watch(watch: Watch): Promise<void>;
  close(): void;
}

export type Watch = {
  readonly signal: AbortSignal;
  readonly desired: () => KernelState;
  /** Whether the desired state has anything to do with a device. */
  readonly concerns: (device: string) => boolean;
  /**
   * `what`, for logs: the key of an item, as a rule. `stands`: whether it is so still, once what is desired
   * and the devices are known better; absent: it is.
   */
  readonly onContradiction: (what: string, stands?: () => boolean) => void;
};

/** What was thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
