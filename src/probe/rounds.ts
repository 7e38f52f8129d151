import { type Problem, type ProblemId, warning } from '../problem.ts';
import { isBroken, type PathReport, type PathState } from './report.ts';

/** Bad reports in a row that make a problem: one may be a restart, or a burst. */
const PERSISTENT = 3;
/** Problems of one kind that are told one by one. */
const TOLD = 5;

const IDS: { readonly [S in PathState]?: ProblemId } = {
  blocked: 'path-blocked',
  down: 'peer-silent',
  lossy: 'path-loses-packets',
  narrow: 'path-cuts-large-packets',
};

/** What the self-test has found so far. */
export type PathSummary = {
  /** Peers whose paths have been tested, all that there are, and those of which something is wrong. */
  readonly tested: number;
  readonly peers: number;
  readonly broken: number;
};

/**
 * Remembers the reports on peers, and chooses whom to probe next: a few at a time, however many there are, in
 * turn; and those of which something was wrong, again.
 */
export class Rounds {
  readonly #size: number;
  /** Peers in the order of their turns. */
  #order: readonly string[] = [];
  /** The latest reports on a peer, and how many bad ones there were in a row. */
  readonly #known = new Map<string, { readonly reports: readonly PathReport[]; readonly failures: number }>();

  /** `size`: peers at a time, and as many that are suspect. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Returns the names to probe now; forgets peers that have left. */
  next(peers: readonly string[]): readonly string[] {
    const present = new Set(peers);
    for (const name of this.#known.keys()) if (!present.has(name)) this.#known.delete(name);
    const kept = this.#order.filter((name) => present.has(name));
    const queued = new Set(kept);
    const order = [...peers.filter((name) => !queued.has(name)), ...kept];
    const suspects = order.filter((name) => (this.#known.get(name)?.failures ?? 0) > 0).slice(0, this.#size);
    const chosen = new Set([...order.slice(0, this.#size), ...suspects]);
    this.#order = [...order.filter((name) => !chosen.has(name)), ...chosen];
    return [...chosen];
  }

  /** Notes all reports on one peer. */
  note(peer: string, reports: readonly PathReport[]): void {
    const before = this.#known.get(peer)?.failures ?? 0;
    this.#known.set(peer, { reports, failures: reports.some(isBroken) ? before + 1 : 0 });
  }

  get summary(): PathSummary {
    const known = [...this.#known.values()];
    return {
      tested: known.filter(({ reports }) => reports.some(({ state }) => state !== 'untested')).length,
      peers: this.#order.length,
      broken: known.filter(({ failures }) => failures >= PERSISTENT).length,
    };
  }

  /** What has been wrong for several rounds; the first few of a kind, and how many more there are. */
  get problems(): readonly Problem[] {
    const lasting = [...this.#known.values()]
      .filter(({ failures }) => failures >= PERSISTENT)
      .flatMap(({ reports }) => reports.filter(isBroken));
    return Object.entries(IDS).flatMap(([state, id]) => {
      const all = lasting.filter((report) => report.state === state);
      const rest = all.length - TOLD;
      return [
        ...all.slice(0, TOLD).map((report) => problemOf(report, id)),
        ...(rest > 0 ? [more(rest, id)] : []),
      ];
    });
  }
}

/** Never an error: the peer may be the one to blame, and this node does what it should. */
function problemOf({ what = '', cause, fix }: PathReport, id: ProblemId): Problem {
  return warning(id, what, cause, fix);
}

function more(count: number, id: ProblemId): Problem {
  return warning(id, `the same of ${count} more peers`, undefined, 'see flatnet doctor');
}
