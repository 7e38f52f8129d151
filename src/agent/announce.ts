import { Backoff } from '../async/backoff.ts';
import { pause } from '../async/pause.ts';
import { messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { type Problem, problemText } from '../problem.ts';
import type { Membership } from '../store/ports/membership.ts';

/** Milliseconds between checks. */
const INTERVAL = 1000;
/** Milliseconds a node must stay unready before that is announced: a starting agent always is at first. */
const PATIENCE = 10_000;

export type AnnounceOptions = {
  readonly node: string;
  /** Why this node takes no pods now. */
  readonly obstacle: () => Problem | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Milliseconds. Default 10 000. */
  readonly patience?: number;
};

/**
 * Keeps the cluster's scheduler informed whether this node takes pods, until the signal aborts. Does nothing
 * if the store cannot hold that.
 */
export async function announce(
  membership: Pick<Membership, 'announce'>,
  { node, obstacle, log, signal, patience = PATIENCE }: AnnounceOptions,
): Promise<void> {
  if (!membership.announce) return;
  const backoff = new Backoff({ first: INTERVAL, longest: 30 * INTERVAL });
  let wait = INTERVAL;
  let failure = '';
  let unreadySince: number | undefined;
  do {
    const problem = obstacle();
    unreadySince = problem ? (unreadySince ?? performance.now()) : undefined;
    if (unreadySince !== undefined && performance.now() - unreadySince < patience) continue;
    const next = problem && { reason: inCamelCase(problem.id), message: problemText(problem) };
    try {
      // Also what has been announced before: others write it too, and it goes with the node's object.
      await membership.announce(node, next);
      backoff.reset();
      wait = INTERVAL;
      failure = '';
    } catch (error) {
      if (messageOf(error) !== failure && !signal.aborted) {
        log.warn({ reason: messageOf(error) }, 'cannot announce whether this node takes pods');
      }
      failure = messageOf(error);
      wait = backoff.next();
    }
  } while (await pause(wait, signal));
}

/** `no-subnet` as `NoSubnet`. */
export function inCamelCase(id: string): string {
  return id.replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase());
}
