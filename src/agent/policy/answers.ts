import { ANSWERS } from '../../cluster/policy-options.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { Nflog } from '../../linux/nflog.ts';
import { Nfqueue } from '../../linux/nfqueue.ts';
import { rehearse } from '../../linux/nftables/rehearsal.ts';
import { ANSWER_BYTES, type Observed, observationTable } from '../../policy/names/table.ts';

/** Takes an answer on its way to a pod, valid only during the call; `pass` lets it go on. */
export type TakeAnswer = (packet: Buffer, pass: () => void) => void;

/** The answers that the tables pass to the agent. */
export type Answers = {
  readonly observed: Observed;
  /** Why nothing better. */
  readonly reason?: string;
  /** Passes them until the signal aborts. */
  readonly run: (take: TakeAnswer) => Promise<void>;
};

export type AnswersOptions = { readonly netns?: string | undefined; readonly signal: AbortSignal };

/**
 * Listens to answers: held, where the kernel can do that, else to copies of them. Throws NFTABLES or NETLINK
 * if it cannot do this either, or others listen.
 */
export async function openAnswers(options: AnswersOptions): Promise<Answers> {
  try {
    return await openHeld(options);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    return { ...(await openCopied(options)), reason: messageOf(error) };
  }
}

async function openHeld({ netns, signal }: AnswersOptions): Promise<Answers> {
  await rehearse([observationTable('held', 4)]);
  const queue = Nfqueue.open({ netns, queue: ANSWERS, bytes: ANSWER_BYTES, signal });
  const run = (take: TakeAnswer) => queue.run(({ id, packet }) => take(packet, () => queue.accept(id)));
  return { observed: 'held', run };
}

async function openCopied({ netns, signal }: AnswersOptions): Promise<Answers> {
  await rehearse([observationTable('copied', 4)]);
  const log = Nflog.open({ netns, group: ANSWERS, bytes: ANSWER_BYTES, delay: 10, signal });
  const run = (take: TakeAnswer) =>
    log.run((packet) => {
      // What was lost is not known: it stays closed.
      if ('packet' in packet) take(packet.packet, () => {});
    });
  return { observed: 'copied', run };
}
