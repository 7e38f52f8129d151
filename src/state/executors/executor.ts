import type { Change, Item, KernelState } from '../item.ts';

/**
 * Reads and changes items through one kernel interface, in one network namespace. It handles the kinds whose
 * `executor` names it, and uses of each only the interface in `protocols/`.
 */
export interface Executor {
  /** Reads the desired items that exist, and any others of ours. */
  read(desired: KernelState): Promise<readonly Item[]>;
  /** Reads individual items; undefined for one that does not exist or can't be read individually. */
  find(items: readonly Item[]): Promise<readonly (Item | undefined)[]>;
  /**
   * Makes the changes of one stage. A failure does not stop the rest, unless they share a transaction.
   * Returns an answer per change, in order: undefined on success.
   */
  apply(changes: readonly Change[]): Promise<readonly (Error | undefined)[]>;
  /**
   * Reports others' changes that contradict the desired state, until the signal aborts. Starts listening
   * immediately. Rejects if listening is impossible, or no longer possible.
   */
  watch(watch: Watch): Promise<void>;
  close(): void;
}

export type Watch = {
  readonly signal: AbortSignal;
  /** Called once listening has begun: from now on nothing is missed. */
  readonly onListening: () => void;
  readonly desired: () => KernelState;
  /** Whether the desired state involves a device. */
  readonly involves: (device: string) => boolean;
  /** Whether the next run reads a device anyway. */
  readonly isDue: (device: string) => boolean;
  /**
   * `what`, for logs: usually an item's key. `persists`: re-checks the contradiction against newer knowledge
   * of the desired state and the devices; absent: it persists.
   */
  readonly onContradiction: (what: string, persists?: () => boolean) => void;
};

/** Converts any thrown value to an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
