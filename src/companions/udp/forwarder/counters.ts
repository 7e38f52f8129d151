/** Packets, or for what is received datagrams, since the forwarder has started. */
export class Counters {
  sent = 0;
  received = 0;
  /** From an address that no node has. */
  strangers = 0;
  /** Truncated, of another version, of wrong lengths. */
  malformed = 0;
  /** For an address that no node has. */
  unroutable = 0;
  /** Their time to live had run out. */
  expired = 0;
  /** The kernel did not take them: buffers were full, or the underlay was down. */
  failed = 0;

  toJSON(): object {
    return { ...this };
  }
}
