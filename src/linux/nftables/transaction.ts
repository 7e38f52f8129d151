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
  if (requests.length === 0) return;
  const create = (sequence: number) => new TransactionExchange(requests, sequence);
  const size = requests.reduce((sum, { payload }) => sum + payload.length, 0);
  if (size <= AT_ONCE && !socket.isBusy) socket.exchangeSync(create, requests.length + 2);
  else await socket.exchange(create, requests.length + 2);
}

/**
 * BEGIN, the requests and END in one write. The kernel answers after committing or aborting the transaction:
 * it reports every refusal, so only the last request asks for an acknowledgement, as each is another read.
 */
class TransactionExchange implements Exchange<void> {
  readonly bytes: Buffer;
  done = false;
  readonly #requests: readonly Request[];
  readonly #begin: number;
  #error: Error | undefined;

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
      // Errors of the whole transaction, such as a failed commit, arrive as the answer to BEGIN, possibly the
      // only one.
      const subject = this.#requests[Math.max(index, 0)];
      if (verdict.errno && subject) this.#error ??= refusal(subject, verdict);
      if (index === -1 || index === this.#requests.length - 1) this.done = true;
    }
  }

  result(): void {
    if (this.#error) throw this.#error;
  }
}
