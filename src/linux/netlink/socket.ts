import fs from 'node:fs';
import { promisify } from 'node:util';
import { nextTurn } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';
import * as sys from '../sys.ts';
import { Answers } from './answers.ts';
import { Datagrams } from './datagrams.ts';
import {
  acknowledgementsHeld,
  BUFFER_SIZE,
  enlargeSendBuffer,
  ioError,
  openDescriptor,
  type SocketOptions,
} from './descriptor.ts';
import {
  type Answer,
  BatchExchange,
  DumpExchange,
  type Exchange,
  GetExchange,
  notFound,
} from './exchange.ts';
import type { DumpRequest, Request } from './message.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const DUMP_TRIES = 30;
/** Any receive buffer holds so many acknowledgements. */
const SMALL_BATCH = 32;
/** Datagrams (of about 250 neighbours each) to read before yielding to other work. */
const READS_AT_ONCE = 4;

const writeAsync = promisify(fs.write);

/**
 * A netlink socket. It stays in the network namespace it was opened in. Asynchronous calls are queued; the
 * `…Sync` methods throw INTERNAL while one is in progress, so give synchronous code its own socket.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #portId: number | undefined;
  /**
   * The number of acknowledgements that fit into the receive buffer: they queue up during a write, and excess
   * ones are lost.
   */
  #batchSize = SMALL_BATCH;
  #sequence = 0;
  /** The bytes that a write may have. */
  #longest = BUFFER_SIZE;
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #closed = false;
  #datagrams: Datagrams | undefined;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** This socket's kernel-assigned address, carried by the notifications of changes made through it. */
  get portId(): number {
    this.#portId ??= sys.getsockname(this.#fd).readUInt32LE(4);
    return this.#portId;
  }

  /**
   * `protocol` is NETLINK_ROUTE or another NETLINK_* number. Throws SYSCALL, or NOT_FOUND if the namespace
   * does not exist.
   */
  static open(protocol: number, options: SocketOptions = {}): NetlinkSocket {
    return new NetlinkSocket(openDescriptor(protocol, options));
  }

  /**
   * Executes all requests in order, many to a write. A failed one does not stop the rest; the first error
   * (NETLINK) is thrown.
   */
  async execute(requests: readonly Request[]): Promise<void> {
    throwFirst(await this.executeAll(requests));
  }

  executeSync(requests: readonly Request[]): void {
    throwFirst(this.executeAllSync(requests));
  }

  /** Like `execute`, but returns an answer for each request: undefined on success, otherwise its error. */
  async executeAll(requests: readonly Request[]): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (const batch of this.#batches(requests)) {
      answers.push(...(await this.exchange((sequence) => new BatchExchange(batch, sequence), batch.length)));
    }
    return answers;
  }

  executeAllSync(requests: readonly Request[]): Answer[] {
    return this.#batches(requests).flatMap((batch) =>
      this.exchangeSync((sequence) => new BatchExchange(batch, sequence), batch.length),
    );
  }

  /** Reads all objects of a kind. A dump interrupted by a change is repeated. */
  async dump<T>(request: DumpRequest<T>): Promise<T[]> {
    for (let i = 0; i < DUMP_TRIES; i++) {
      const query = await this.#complete((sequence) => new DumpExchange(request, sequence), 1);
      if (!query.interrupted) return query.result();
    }
    throw interrupted(request);
  }

  dumpSync<T>(request: DumpRequest<T>): T[] {
    for (let i = 0; i < DUMP_TRIES; i++) {
      const query = this.#completeSync((sequence) => new DumpExchange(request, sequence), 1);
      if (!query.interrupted) return query.result();
    }
    throw interrupted(request);
  }

  /** Reads one object. Throws NETLINK, such as ENODEV, if it does not exist. */
  async get<T>(request: DumpRequest<T>): Promise<T> {
    return only(await this.getAll([request]), request);
  }

  getSync<T>(request: DumpRequest<T>): T {
    return only(
      this.exchangeSync((sequence) => new GetExchange([request], sequence), 1),
      request,
    );
  }

  /** Like `get` of each, many to a write. A failed one does not stop the rest: its answer is the error. */
  async getAll<T>(requests: readonly DumpRequest<T>[]): Promise<(T | FlatnetError)[]> {
    const answers: (T | FlatnetError)[] = [];
    for (const batch of this.#batches(requests)) {
      answers.push(...(await this.exchange((sequence) => new GetExchange(batch, sequence), batch.length)));
    }
    return answers;
  }

  /** Performs any exchange of messages; `create` receives the first of `count` sequence numbers. */
  async exchange<R>(create: (sequence: number) => Exchange<R>, count: number): Promise<R> {
    return (await this.#complete(create, count)).result();
  }

  exchangeSync<R>(create: (sequence: number) => Exchange<R>, count: number): R {
    return this.#completeSync(create, count).result();
  }

  /** Waits for a datagram, for up to `timeout` milliseconds; it stays in the queue. */
  async readable(timeout: number): Promise<boolean> {
    if (this.#datagrams?.areLeft) {
      // Like the thread pool, this lets other work have its turn.
      await nextTurn();
      return true;
    }
    return (await sys.pollReadable([this.#fd], timeout)).length > 0;
  }

  /**
   * Returns the next datagram, for listeners; undefined if none is queued. Throws SYSCALL ENOBUFS if the
   * kernel dropped some. The next call overwrites the returned buffer.
   */
  receive(): Buffer | undefined {
    this.#datagrams ??= new Datagrams(this.#fd);
    return this.#datagrams.take();
  }

  /** Whether an asynchronous call is in progress. */
  get isBusy(): boolean {
    return this.#pending > 0;
  }

  /** Sends bytes without waiting for an answer. */
  send(bytes: Buffer): void {
    try {
      fs.writeSync(this.#fd, bytes);
    } catch (error) {
      throw ioError('netlink write', error);
    }
  }

  /** Idempotent. Waits for calls in progress: only then may the descriptor's number be reused. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#pending === 0) fs.closeSync(this.#fd);
    else void this.#last.finally(() => fs.closeSync(this.#fd));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #complete<E extends Exchange<unknown>>(create: (sequence: number) => E, count: number): Promise<E> {
    this.#assertOpen();
    const turn = this.#last.then(async () => {
      const exchange = this.#begin(create, count);
      try {
        await writeAsync(this.#fd, exchange.bytes, 0, exchange.bytes.length, null);
      } catch (error) {
        throw ioError('netlink write', error);
      }
      // By now the kernel has done the work and queued its answers; a dump continues with each read.
      const answers = new Answers(this.#fd);
      for (let reads = 1; !exchange.done; reads++) {
        const datagram = answers.read();
        if (datagram) exchange.take(datagram);
        if (reads % READS_AT_ONCE === 0) await nextTurn();
      }
      return exchange;
    });
    this.#pending++;
    this.#last = turn.then(
      () => this.#pending--,
      () => this.#pending--,
    );
    return turn;
  }

  #completeSync<E extends Exchange<unknown>>(create: (sequence: number) => E, count: number): E {
    this.#assertOpen();
    if (this.#pending > 0) {
      throw new FlatnetError('a netlink socket was used synchronously during an asynchronous call', {
        code: 'INTERNAL',
      });
    }
    const exchange = this.#begin(create, count);
    this.send(exchange.bytes);
    const answers = new Answers(this.#fd);
    while (!exchange.done) {
      const datagram = answers.read();
      if (datagram) exchange.take(datagram);
    }
    return exchange;
  }

  #assertOpen(): void {
    if (this.#closed) throw new FlatnetError('the netlink socket is closed', { code: 'INTERNAL' });
  }

  #begin<E extends Exchange<unknown>>(create: (sequence: number) => E, count: number): E {
    const first = this.#sequence + 1;
    // Sequence numbers have 32 bits; wrapping is harmless, as they need to be unique only within an exchange.
    this.#sequence = first + count > 0x7fffffff ? 0 : first + count - 1;
    const exchange = create(first);
    const { length } = exchange.bytes;
    if (length > this.#longest) {
      enlargeSendBuffer(this.#fd, length);
      this.#longest = length;
    }
    return exchange;
  }

  #batches<R extends Request>(requests: readonly R[]): (readonly R[])[] {
    if (requests.length > this.#batchSize) this.#batchSize = acknowledgementsHeld(this.#fd);
    if (requests.length <= this.#batchSize) return requests.length === 0 ? [] : [requests];
    const count = Math.ceil(requests.length / this.#batchSize);
    return Array.from({ length: count }, (_, i) =>
      requests.slice(i * this.#batchSize, (i + 1) * this.#batchSize),
    );
  }
}

function throwFirst(answers: readonly Answer[]): void {
  for (const answer of answers) if (answer) throw answer;
}

function only<T>([answer]: readonly (T | FlatnetError)[], request: Request): T {
  if (answer === undefined) throw notFound(request);
  if (answer instanceof FlatnetError) throw answer;
  return answer;
}

function interrupted({ operation, object }: Request): FlatnetError {
  const text = 'kept changing while it was being read';
  return new FlatnetError(text, { code: 'NETLINK', operation, object, errno: 'EINTR' });
}
