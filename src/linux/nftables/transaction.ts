import type { FlatnetError } from '../../error.ts';
import { type Exchange, refusal } from '../netlink/exchange.ts';
import {
  encodeMessages,
  messagesOf,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  type Request,
  verdictOf,
} from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import { batchMark, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END } from './message.ts';

/** So many bytes take less time than a round trip through the thread pool: about a hundred elements. */
const AT_ONCE = 16 << 10;

/**
 * Executes all requests in one nftables transaction, or none of them. Throws NETLINK with the first refusal.
 */
export async function commit(socket: NetlinkSocket, requests: readonly Request[]): Promise<void> {
  for (const refused of (await tryCommit(socket, requests)).values()) throw refused;
}

/**
 * Like `commit`, but returns the refusals by the requests' places: none, if the transaction took place.
 * Throws NETLINK where no single request is at fault.
 */
export async function tryCommit(
  socket: NetlinkSocket,
  requests: readonly Request[],
): Promise<ReadonlyMap<number, FlatnetError>> {
  if (requests.length === 0) return new Map();
  const create = (sequence: number) => new TransactionExchange(requests, sequence);
  const size = requests.reduce((sum, { payload }) => sum + payload.length, 0);
  const isSmall = size <= AT_ONCE && !socket.isBusy;
  return isSmall
    ? socket.exchangeSync(create, requests.length + 2)
    : socket.exchange(create, requests.length + 2);
}

/**
 * BEGIN, the requests and END in one write. The kernel answers after committing or aborting the transaction:
 * it reports every refusal, so only the last request asks for an acknowledgement, as each is another read.
 */
class TransactionExchange implements Exchange<ReadonlyMap<number, FlatnetError>> {
  readonly bytes: Buffer;
  done = false;
  readonly #requests: readonly Request[];
  readonly #begin: number;
  readonly #refusals = new Map<number, FlatnetError>();
  /** Of the whole transaction. */
  #error: FlatnetError | undefined;

  constructor(requests: readonly Request[], begin: number) {
    this.#requests = requests;
    this.#begin = begin;
    const mark = (type: number) => ({ type, flags: NLM_F_REQUEST, payload: batchMark() });
    const last = requests.length - 1;
    this.bytes = encodeMessages(
      [
        mark(NFNL_MSG_BATCH_BEGIN),
        ...requests.map(({ type, flags, payload }, i) => ({
          type,
          flags: flags | NLM_F_REQUEST | (i === last ? NLM_F_ACK : 0),
          payload,
        })),
        mark(NFNL_MSG_BATCH_END),
      ],
      begin,
    );
  }

  take(datagram: Buffer): void {
    for (const message of messagesOf(datagram)) {
      const index = message.sequence - this.#begin - 1;
      if (message.type !== NLMSG_ERROR || index < -1 || index >= this.#requests.length) continue;
      const verdict = verdictOf(message);
      const subject = this.#requests[Math.max(index, 0)];
      // Errors of the whole transaction, such as a failed commit, arrive as the answer to BEGIN, possibly the
      // only one.
      if (verdict.errno && subject) {
        if (index === -1) this.#error = refusal(subject, verdict);
        else this.#refusals.set(index, refusal(subject, verdict));
      }
      if (index === -1 || index === this.#requests.length - 1) this.done = true;
    }
  }

  result(): ReadonlyMap<number, FlatnetError> {
    if (this.#error && this.#refusals.size === 0) throw this.#error;
    return this.#refusals;
  }
}
