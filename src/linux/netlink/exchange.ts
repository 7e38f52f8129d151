import { FlatnetError } from '../../error.ts';
import { errnoName, errnoText } from '../errno.ts';
import {
  type DumpRequest,
  encodeMessage,
  encodeMessages,
  messagesOf,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  type Request,
  type Verdict,
  verdictOf,
} from './message.ts';

/** One write and its replies: bytes to send, then datagrams to take until done. No I/O. */
export interface Exchange<Result> {
  readonly bytes: Buffer;
  readonly done: boolean;
  take(datagram: Buffer): void;
  /** Throws FlatnetError NETLINK if the kernel refused the request. */
  result(): Result;
}

/** The outcome of one request: undefined on success. */
export type Answer = FlatnetError | undefined;

/**
 * Several requests in one write. The kernel handles them in order and always reports a refusal, so only the
 * last one asks for an acknowledgement: without it, each would be another read.
 */
export class BatchExchange implements Exchange<Answer[]> {
  readonly bytes: Buffer;
  readonly #requests: readonly Request[];
  readonly #first: number;
  readonly #answers: Answer[];
  done: boolean;

  constructor(requests: readonly Request[], firstSequence: number) {
    const last = requests.length - 1;
    this.#requests = requests;
    this.#first = firstSequence;
    this.#answers = new Array<Answer>(requests.length).fill(undefined);
    this.done = requests.length === 0;
    this.bytes = encodeMessages(
      requests.map(({ type, flags, payload }, i) => ({
        type,
        flags: flags | NLM_F_REQUEST | (i === last ? NLM_F_ACK : 0),
        payload,
      })),
      firstSequence,
    );
  }

  take(datagram: Buffer): void {
    for (const message of messagesOf(datagram)) {
      const index = message.sequence - this.#first;
      const request = this.#requests[index];
      if (message.type !== NLMSG_ERROR || !request) continue;
      const verdict = verdictOf(message);
      if (verdict.errno) this.#answers[index] = refusal(request, verdict);
      this.done = index === this.#requests.length - 1;
    }
  }

  result(): Answer[] {
    return this.#answers;
  }
}

/** A dump of all objects of a kind. */
export class DumpExchange<T> implements Exchange<T[]> {
  readonly bytes: Buffer;
  /**
   * The objects changed during the dump, so the result may lack some or hold some twice (NLM_F_DUMP_INTR).
   */
  interrupted = false;
  done = false;
  readonly #request: DumpRequest<T>;
  readonly #sequence: number;
  readonly #values: T[] = [];
  #verdict: Verdict = { errno: 0, text: undefined };

  constructor(request: DumpRequest<T>, sequence: number) {
    const flags = NLM_F_REQUEST | NLM_F_DUMP;
    this.#request = request;
    this.#sequence = sequence;
    this.bytes = encodeMessage({ ...request, flags: request.flags | flags }, sequence);
  }

  take(datagram: Buffer): void {
    for (const message of messagesOf(datagram)) {
      if (message.sequence !== this.#sequence) continue;
      if (message.flags & NLM_F_DUMP_INTR) this.interrupted = true;
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
        this.#verdict = verdictOf(message);
        this.done = true;
      } else if (message.type !== NLMSG_NOOP) {
        const value = this.#request.decode(message);
        if (value !== undefined) this.#values.push(value);
      }
    }
  }

  result(): T[] {
    const { errno } = this.#verdict;
    if (errno === 0) return this.#values;
    if (errnoName(errno) === this.#request.emptyOn) return [];
    throw refusal(this.#request, this.#verdict);
  }
}

/**
 * Single-object queries in one write. Without NLM_F_ACK each is answered by one message: the object or
 * an error.
 */
export class GetExchange<T> implements Exchange<(T | FlatnetError)[]> {
  readonly bytes: Buffer;
  readonly #requests: readonly DumpRequest<T>[];
  readonly #first: number;
  readonly #answers = new Map<number, T | FlatnetError>();

  constructor(requests: readonly DumpRequest<T>[], firstSequence: number) {
    this.#requests = requests;
    this.#first = firstSequence;
    this.bytes = encodeMessages(
      requests.map(({ type, flags, payload }) => ({ type, flags: flags | NLM_F_REQUEST, payload })),
      firstSequence,
    );
  }

  get done(): boolean {
    return this.#answers.size === this.#requests.length;
  }

  take(datagram: Buffer): void {
    for (const message of messagesOf(datagram)) {
      const index = message.sequence - this.#first;
      const request = this.#requests[index];
      if (!request) continue;
      const answer =
        message.type === NLMSG_ERROR ? failure(request, verdictOf(message)) : request.decode(message);
      this.#answers.set(index, answer ?? notFound(request));
    }
  }

  result(): (T | FlatnetError)[] {
    return this.#requests.map((request, index) => this.#answers.get(index) ?? notFound(request));
  }
}

function failure(request: DumpRequest<unknown>, verdict: Verdict): FlatnetError {
  return errnoName(verdict.errno) === request.emptyOn ? notFound(request) : refusal(request, verdict);
}

export function notFound({ operation, object }: Pick<Request, 'operation' | 'object'>): FlatnetError {
  return new FlatnetError('not found', { code: 'NOT_FOUND', operation, object });
}

/** The error for a refused request, in the kernel's own words if it gave any. */
export function refusal(request: Pick<Request, 'operation' | 'object'>, verdict: Verdict): FlatnetError {
  return new FlatnetError(verdict.text || errnoText(verdict.errno), {
    code: 'NETLINK',
    operation: request.operation,
    object: request.object,
    errno: errnoName(verdict.errno),
  });
}
