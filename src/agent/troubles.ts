import { pause } from '../async/pause.ts';
import { type Problem, problemText } from '../problem.ts';
import type { Membership } from '../store/ports/membership.ts';
import { inCamelCase } from './announce.ts';

/** Milliseconds between looks at the status. */
const INTERVAL = 10_000;
/** Milliseconds a problem must last to be worth a note. */
const PATIENCE = 10_000;

export type TroublesOptions = {
  readonly node: string;
  /** All that is wrong on this node now. */
  readonly problems: () => readonly Problem[];
  readonly signal: AbortSignal;
  /** Milliseconds. Default 10 000 each. */
  readonly interval?: number;
  readonly patience?: number;
};

/**
 * Notes on the node what goes wrong on it, for those who look at the cluster and not at the node: each
 * problem once for as long as it lasts, until the signal aborts. Does nothing if the store cannot hold that.
 */
export async function noteTroubles(
  membership: Pick<Membership, 'note'>,
  { node, problems, signal, interval = INTERVAL, patience = PATIENCE }: TroublesOptions,
): Promise<void> {
  if (!membership.note) return;
  const troubles = new Troubles(patience);
  while (await pause(interval, signal)) {
    for (const problem of troubles.news(problems(), performance.now())) {
      membership.note(node, { reason: inCamelCase(problem.id), message: problemText(problem) });
    }
  }
}

/** What is wrong and since when, to tell what is new. */
export class Troubles {
  readonly #patience: number;
  /** When each was first seen, in milliseconds; undefined once it has been told. */
  #known: ReadonlyMap<string, number | undefined> = new Map();

  constructor(patience: number) {
    this.#patience = patience;
  }

  /** Returns those of all problems that have lasted long enough now, and have not been returned before. */
  news(problems: readonly Problem[], now: number): readonly Problem[] {
    const next = new Map<string, number | undefined>();
    const news: Problem[] = [];
    for (const problem of problems) {
      const key = keyOf(problem);
      if (next.has(key)) continue;
      const since = this.#known.has(key) ? this.#known.get(key) : now;
      const isNews = since !== undefined && now - since >= this.#patience;
      if (isNews) news.push(problem);
      next.set(key, isNews ? undefined : since);
    }
    this.#known = next;
    return news;
  }
}

/** The same for the same problem, even if what it counts has changed. */
function keyOf({ id, what }: Problem): string {
  return `${id} ${what.replace(/(?<![\w.:/-])\d+(?![\w.:/-])/g, '#')}`;
}
