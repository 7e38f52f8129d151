import { pause } from '../async/pause.ts';
import { type PodProblem, type Problem, problemText } from '../problem.ts';
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

/** A problem, or one pod's part in it. */
export type Trouble = Omit<Problem, 'severity' | 'pods'> & { readonly pod?: PodProblem['pod'] };

/**
 * Notes on the node what goes wrong on it, and on its pods what concerns them, for those who look at the
 * cluster and not at the node: each once for as long as it lasts, until the signal aborts. Does nothing if
 * the store cannot hold that.
 */
export async function noteTroubles(
  membership: Pick<Membership, 'note'>,
  { node, problems, signal, interval = INTERVAL, patience = PATIENCE }: TroublesOptions,
): Promise<void> {
  if (!membership.note) return;
  const troubles = new Troubles(patience);
  while (await pause(interval, signal)) {
    for (const trouble of troubles.news(problems().flatMap(troublesOf), performance.now())) {
      const { namespace, name, uid } = trouble.pod ?? {};
      const text = { reason: inCamelCase(trouble.id), message: problemText(trouble) };
      if (!trouble.pod) membership.note(node, text);
      else if (namespace && name) membership.note(node, text, { namespace, name, ...(uid && { uid }) });
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

  /** Returns those of all troubles that have lasted long enough now, and have not been returned before. */
  news(all: readonly Trouble[], now: number): readonly Trouble[] {
    const next = new Map<string, number | undefined>();
    const news: Trouble[] = [];
    for (const trouble of all) {
      const key = keyOf(trouble);
      if (next.has(key)) continue;
      const since = this.#known.has(key) ? this.#known.get(key) : now;
      const isNews = since !== undefined && now - since >= this.#patience;
      if (isNews) news.push(trouble);
      next.set(key, isNews ? undefined : since);
    }
    this.#known = next;
    return news;
  }
}

function troublesOf({ severity: _, pods = [], ...problem }: Problem): Trouble[] {
  return [problem, ...pods.map(({ pod, what }) => ({ ...problem, what, pod }))];
}

/** The same for the same trouble, even if what it counts has changed. */
function keyOf({ id, what, pod }: Trouble): string {
  const of = pod ? ` ${pod.namespace}/${pod.name} ${pod.uid}` : '';
  return `${id}${of} ${what.replace(/(?<![\w.:/-])\d+(?![\w.:/-])/g, '#')}`;
}
