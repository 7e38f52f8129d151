import { FlatnetError } from '../../error.ts';
import { encodeMessage, NLM_F_ACK, NLMSG_NOOP } from './message.ts';
import { NetlinkSocket, type SocketOptions } from './socket.ts';

const READS_AT_ONCE = 256;
/** Milliseconds. The signal ends a read early; only a process that exits without aborting waits this long. */
const WAIT = 2000;

export type ListenerOptions = SocketOptions & {
  /** Stops listening immediately and closes the socket. */
  readonly signal: AbortSignal;
};

/**
 * A socket that joins multicast groups when it is opened, so that nothing between opening and the first read
 * is lost. Reading blocks one thread of libuv's pool per listener.
 */
export class NetlinkListener {
  readonly #socket: NetlinkSocket;
  readonly #signal: AbortSignal;
  #reading = false;

  private constructor(socket: NetlinkSocket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    if (signal.aborted) this.#stop();
    else signal.addEventListener('abort', () => this.#stop(), { once: true });
  }

  static open(protocol: number, { signal, ...options }: ListenerOptions): NetlinkListener {
    return new NetlinkListener(NetlinkSocket.open(protocol, { receiveTimeout: WAIT, ...options }), signal);
  }

  /**
   * Calls `take` with datagrams as they arrive, and with `overflow` where the kernel dropped some: only a
   * fresh dump then shows the current state. A datagram is valid only during the call. Resolves when the
   * signal has aborted; rejects if `take` throws.
   */
  async run(take: (datagram: Buffer | 'overflow') => void): Promise<void> {
    this.#reading = true;
    try {
      while (!this.#signal.aborted) {
        let next = await this.#socket.receive().catch((error: unknown) => this.#overflow(error));
        // Queued datagrams are read without going through the thread pool, but in limited numbers, so that
        // other work does not starve.
        for (let i = 0; next !== undefined && !this.#signal.aborted; i++) {
          take(next);
          next = i < READS_AT_ONCE ? this.#receiveNow() : undefined;
        }
      }
    } finally {
      this.#reading = false;
      this.#socket.close();
    }
  }

  #receiveNow(): Buffer | 'overflow' | undefined {
    try {
      return this.#socket.receiveNow();
    } catch (error) {
      return this.#overflow(error);
    }
  }

  #overflow(error: unknown): 'overflow' {
    if (!isOverflow(error)) throw error;
    this.#drain();
    return 'overflow';
  }

  /**
   * Empties the queue. Until then, an overflowed socket receives nothing new, without any further error
   * (NETLINK_S_CONGESTED), so a dump made before that would silently become outdated.
   */
  #drain(): void {
    for (;;) {
      try {
        if (this.#socket.receiveNow() === undefined) return;
      } catch (error) {
        if (!isOverflow(error)) throw error;
      }
    }
  }

  #stop(): void {
    // The kernel's acknowledgement of a no-op ends a read in progress.
    const wake = { type: NLMSG_NOOP, flags: NLM_F_ACK, payload: Buffer.alloc(0) };
    if (this.#reading) this.#socket.send(encodeMessage(wake, 0));
    else this.#socket.close();
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof FlatnetError && error.errno === 'ENOBUFS';
}
