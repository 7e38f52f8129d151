import { FlatnetError } from '../../error.ts';
import { encodeMessage, NLM_F_ACK, NLMSG_NOOP } from './message.ts';
import { NetlinkSocket, type SocketOptions } from './socket.ts';

export type ListenerOptions = SocketOptions & {
  /** Ends the listening, at once, and closes the socket. */
  readonly signal: AbortSignal;
};

/**
 * A socket in multicast groups. Joined when it is made, so that what happens between that and the first read is not lost. Reading
 * waits in a thread of libuv's pool, one for each listener.
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
    return new NetlinkListener(NetlinkSocket.open(protocol, options), signal);
  }

  /** Datagrams as they come, `overflow` where the kernel had to drop some. Read each before taking the next. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer | 'overflow'> {
    this.#reading = true;
    try {
      while (!this.#signal.aborted) {
        const first = await lossy(() => this.#socket.receive());
        // What is there already is taken without a detour through the thread pool, but not so much that others starve.
        let next = first;
        for (let i = 0; next !== undefined && !this.#signal.aborted; i++) {
          yield next;
          next = i < DRAIN ? await lossy(() => this.#socket.receiveNow()) : undefined;
        }
      }
    } finally {
      this.#reading = false;
      this.#socket.close();
    }
  }

  #stop(): void {
    // The kernel's acknowledgement of nothing ends a read under way.
    const wake = { type: NLMSG_NOOP, flags: NLM_F_ACK, payload: Buffer.alloc(0) };
    if (this.#reading) this.#socket.send(encodeMessage(wake, 0));
    else this.#socket.close();
  }
}

const DRAIN = 256;

async function lossy(
  read: () => Buffer | undefined | Promise<Buffer | undefined>,
): Promise<Buffer | 'overflow' | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'ENOBUFS') return 'overflow';
    throw error;
  }
}
