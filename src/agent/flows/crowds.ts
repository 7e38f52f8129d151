import type { Ip } from '../../ip/address.ts';
import type { Log } from '../../log.ts';
import { MOST_REMEMBERED, REMEMBERED } from '../../policy/flows/table.ts';
import { type Problem, type ProblemId, warning } from '../../problem.ts';
import type { Crowded } from './refuse.ts';

const CAUSE = `the kernel remembers ${MOST_REMEMBERED} ended connections of a kind, and these were more`;

const KINDS = {
  silenced: {
    id: 'ended-streams-silenced',
    what: 'an established TCP connection of these pods that the kernel loses does not go on',
    fix: 'none is needed: new ones work, and it ends after five days',
  },
  forgotten: {
    id: 'ended-connections-forgotten',
    what: 'connections that policies have ended may go on from the other end, of the pods',
    fix: 'restart these pods',
  },
} as const satisfies Record<keyof Crowded, { id: ProblemId; what: string; fix: string }>;

/** So many addresses are named. */
const NAMED = 5;

/** The pods of which too many connections have been ended to remember each, as long as that matters. */
export class Crowds {
  readonly #log: Log;
  /** When it ends, on the clock of `performance.now`. */
  readonly #pods = { silenced: new Map<Ip, number>(), forgotten: new Map<Ip, number>() };

  constructor(log: Log) {
    this.#log = log;
  }

  add(crowded: Crowded, now = performance.now()): void {
    for (const kind of ['silenced', 'forgotten'] as const) {
      const { what } = KINDS[kind];
      const until = kind === 'silenced' ? now + REMEMBERED.streams : Infinity;
      const news = crowded[kind].filter((ip) => !this.#pods[kind].has(ip));
      for (const ip of crowded[kind]) this.#pods[kind].set(ip, until);
      if (news.length > 0) this.#log.warn({ pods: named(news), cause: CAUSE }, what);
    }
  }

  leave(addresses: readonly Ip[]): void {
    for (const pods of Object.values(this.#pods)) for (const ip of addresses) pods.delete(ip);
  }

  get problems(): readonly Problem[] {
    const now = performance.now();
    return (['silenced', 'forgotten'] as const).flatMap((kind) => {
      const pods = [...this.#pods[kind]].filter(([, until]) => now < until).map(([ip]) => ip);
      const { id, what, fix } = KINDS[kind];
      return pods.length === 0 ? [] : [warning(id, `${what}: ${named(pods)}`, CAUSE, fix)];
    });
  }
}

function named(pods: readonly Ip[]): string {
  const all = [...new Set(pods)].sort();
  const more = all.length > NAMED ? ` and ${all.length - NAMED} more` : '';
  return `${all.slice(0, NAMED).join(', ')}${more}`;
}
