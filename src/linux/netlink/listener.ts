import { FlatnetError } from '../../error.ts';
import { encodeMessage, NLM_F_ACK, NLMSG_NOOP } from './message.ts';
import { NetlinkSocket, type SocketOptions } from './socket.ts';

const READS_AT_ONCE = 256;
/** Milliseconds. The signal ends a read early; only a process that exits without it waits so long. */
const WAIT = 2000;

export type ListenerOptions = SocketOptions & {
  /** Ends the listening, at once, and closes the socket. */
  readonly signal: AbortSignal;
};

/**
 * A socket in multicast groups. Joined when it is made, so that what happens between that and the first read
 * is not lost. Reading waits in a thread of libuv's pool, one for each listener.
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
   * Datagrams as they come; `overflow` where the kernel had to drop some, after which only a fresh dump says
   * what is. Read each before taking the next.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer | 'overflow'> {
    this.#reading = true;
    try {
      while (!this.#signal.aborted) {
        let next = await this.#next(() => this.#socket.receive());
        // What is there already is taken without a detour through the thread pool, but not so much that
        // others starve.
        for (let i = 0; next !== undefined && !this.#signal.aborted; i++) {
          yield next;
          next = i < READS_AT_ONCE ? await this.#next(() => this.#socket.receiveNow()) : undefined;
        }
      }
    } finally {
      this.#reading = false;
      this.#socket.close();
    }
  }

  async #next(
    read: () => Buffer | undefined | Promise<Buffer | undefined>,
  ): Promise<Buffer | 'overflow' | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!isOverflow(error)) throw error;
      this.#drain();
      return 'overflow';
    }
  }

  /**
   * Until its queue has been empty once, a socket that overflowed gets nothing new, and no further error
   * tells of that (NETLINK_S_CONGESTED). So what a listener dumps before would be outdated without its
   * knowing.
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
    // The kernel's acknowledgement of nothing ends a read under way.
    const wake = { type: NLMSG_NOOP, flags: NLM_F_ACK, payload: Buffer.alloc(0) };
    if (this.#reading) this.#socket.send(encodeMessage(wake, 0));
    else this.#socket.close();
  }
}

function isOverflow(error: unknown): boolean {
  return error instanceof FlatnetError && error.errno === 'ENOBUFS';
}
