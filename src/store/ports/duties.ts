/** What one agent does for the whole cluster. */
export interface Duties {
  /**
   * Runs `work` on one node of the cluster at a time, until `signal` aborts. The signal that `work` gets
   * aborts when another node takes over. Rejects when `work` does.
   */
  share(node: string, work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Whether a node has left the cluster, now, as the store itself answers. */
  isGone(node: string): Promise<boolean>;
}
