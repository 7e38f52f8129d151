import { excerpt, type Problem, timeText } from '../problem.ts';
import type { Renewal } from '../store/ports/membership.ts';
import type { Standing } from './own-subnets.ts';

/** This node's place in the cluster, as far as it knows. */
export type StoreStatus = {
  /** Whether the store confirms it, and no more than one renewal is overdue. */
  readonly connected: boolean;
  /** When the store last confirmed it (ISO 8601). */
  readonly lastRenewal?: string;
  /** When peers drop their routes to this node unless it is renewed before (ISO 8601). */
  readonly leaseExpires?: string;
};

export type Tenure = {
  readonly standing: Standing;
  /** The claim's; undefined while there is none. */
  readonly renewal: Renewal | undefined;
  /** Since when there is no claim. */
  readonly vacant: Date | undefined;
  /** Of a lease, in seconds; Infinity where there are none. */
  readonly ttl: number;
};

export function storeStatus({ standing, renewal }: Tenure, now = new Date()): StoreStatus {
  const { at, expires, problem } = renewal ?? {};
  const isValid = expires === undefined || expires > now;
  return {
    connected: standing === 'confirmed' && isValid && problem === undefined,
    ...(at && { lastRenewal: at.toISOString() }),
    ...(expires && { leaseExpires: expires.toISOString() }),
  };
}

/** Returns why peers do not, or soon will not, send to this node. */
export function tenureProblems({ standing, renewal, vacant, ttl }: Tenure, now = new Date()): Problem[] {
  if (renewal) return leaseProblems(renewal, now);
  if (standing !== 'trusted' || !vacant) return [];
  const since = timeText(vacant, now);
  const what = `the store has not confirmed this node’s subnets since ${since}`;
  const fix = 'let the node reach the store';
  const isOver = now.getTime() - vacant.getTime() > ttl * 1000;
  if (!isOver)
    return [
      {
        id: 'subnets-unconfirmed',
        severity: 'warning',
        what,
        cause: 'it works from the last known state',
        fix,
      },
    ];
  return [{ id: 'lease-ran-out', severity: 'error', what, cause: `a lease lasts ${ttl} s: ${DROPPED}`, fix }];
}

const DROPPED = 'peers have dropped their routes to this node’s pods';

function leaseProblems({ at, expires, problem }: Renewal, now: Date): Problem[] {
  const renewed = `it was last renewed at ${timeText(at, now)}`;
  const because = problem === undefined ? renewed : `${renewed}; ${excerpt(problem)}`;
  if (expires && expires <= now) {
    const what = `this node’s lease ran out at ${timeText(expires, now)}: ${DROPPED}`;
    return [{ id: 'lease-ran-out', severity: 'error', what, cause: because }];
  }
  if (problem === undefined) return [];
  if (!expires) {
    const what = `the store has not confirmed this node’s subnets since ${timeText(at, now)}`;
    return [{ id: 'subnets-unconfirmed', severity: 'warning', what, cause: excerpt(problem, 400) }];
  }
  const end = `, and runs out at ${timeText(expires, now)}`;
  const what = `this node’s lease cannot be renewed${end}`;
  return [{ id: 'lease-not-renewed', severity: 'warning', what, cause: because }];
}
