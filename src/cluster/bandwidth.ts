/** A limit in one direction. */
export type Rate = {
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that may pass at once after a pause. */
  readonly burst: number;
};

/** How much a pod may receive and send. Absent: as much as its link carries. */
export type Bandwidth = { readonly ingress?: Rate; readonly egress?: Rate };
