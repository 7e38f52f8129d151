import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';
import type { SocketOptions } from './descriptor.ts';
import { encodeMessage, NLM_F_ACK, NLM_F_REQUEST, NLMSG_NOOP, type Request } from './message.ts';
import { NetlinkSocket } from './socket.ts';

const READS_AT_ONCE = 256;
/** Milliseconds. The signal ends a wait early; only a process that exits without aborting waits this long. */
const WAIT = 2000;

export type ListenerOptions = SocketOptions & {
  /** Stops listening immediately and closes the socket. */
  readonly signal: AbortSignal;
  /**
   * Milliseconds for which more datagrams may gather after some have been read: waking up costs as much as
   * reading ten. Default: 0.
   */
  readonly gather?: number | undefined;
  /** Sent when it is opened: asks for what is not sent to groups. Throws like `NetlinkSocket.execute`. */
  readonly setup?: readonly Request[] | undefined;
};

/**
 * A socket that joins multicast groups, or asks for messages, when it is opened, so that nothing between
 * opening and the first read is lost. Waiting blocks one thread of libuv's pool per listener; everything is
 * read by this thread, so that `catchUp` misses nothing.
 */
export class NetlinkListener {
  readonly #socket: NetlinkSocket;
  readonly #gather: number;
  /** Aborts with the signal, whose many listeners would make each pause expensive. */
  readonly #stopping = new AbortController();
  #take: (datagram: Buffer | 'overflow') => void = () => {};
  #reading = false;

  private constructor(socket: NetlinkSocket, { signal, gather = 0 }: ListenerOptions) {
    this.#socket = socket;
    this.#gather = gather;
    if (signal.aborted) this.#stop();
    else signal.addEventListener('abort', () => this.#stop(), { once: true });
  }

  static open(protocol: number, options: ListenerOptions): NetlinkListener {
    const socket = NetlinkSocket.open(protocol, options);
    try {
      socket.executeSync(options.setup ?? []);
      return new NetlinkListener(socket, options);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Calls `take` with datagrams as they arrive, and with `overflow` where the kernel dropped some: only a
   * fresh dump then shows the current state. A datagram is valid only during the call. Resolves when the
   * signal has aborted; rejects if `take` throws.
   */
  async run(take: (datagram: Buffer | 'overflow') => void): Promise<void> {
    this.#take = take;
    this.#reading = true;
    try {
      while (!this.#stopping.signal.aborted) {
        if (!(await this.#socket.readable(WAIT))) continue;
        while (this.#takeQueued() > 0 && this.#gather > 0) await pause(this.#gather, this.#stopping.signal);
      }
    } finally {
      this.#reading = false;
      this.#socket.close();
    }
  }

  /** While it listens, sends a request without waiting for an answer: a refusal arrives as a datagram. */
  send(request: Request): void {
    const message = { ...request, flags: request.flags | NLM_F_REQUEST };
    if (this.#reading && !this.#stopping.signal.aborted) this.#socket.send(encodeMessage(message, 0));
  }

  /** Calls `take` with everything that has arrived. */
  catchUp(): void {
    if (this.#reading) while (this.#takeQueued() === READS_AT_ONCE);
  }

  /**
   * Takes queued datagrams without going through the thread pool, but in limited numbers, so that other work
   * does not starve. Returns their number.
   */
  #takeQueued(): number {
    if (this.#stopping.signal.aborted) return 0;
    for (let i = 0; i < READS_AT_ONCE; i++) {
      const next = this.#receive();
      if (next === undefined) return i;
      this.#take(next);
    }
    return READS_AT_ONCE;
  }

  #receive(): Buffer | 'overflow' | undefined {
    try {
      return this.#socket.receive();
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
        if (this.#socket.receive() === undefined) return;
      } catch (error) {
        if (!isOverflow(error)) throw error;
      }
    }
  }

  #stop(): void {
    this.#stopping.abort();
    // The kernel's acknowledgement of a no-op ends a read in progress.
    const wake = { type: NLMSG_NOOP, flags: NLM_F_ACK, payload: Buffer.alloc(0) };
    if (this.#reading) this.#socket.send(encodeMessage(wake, 0));
    else this.#socket.close();
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof FlatnetError && error.errno === 'ENOBUFS';
}
