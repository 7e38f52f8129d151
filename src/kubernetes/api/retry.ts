import { ApiError } from './api-error.ts';
import { TransitError } from './exchange.ts';
import { type ApiRequest, isSafe } from './request.ts';

/** Milliseconds of the longest first wait, and of the longest wait a server may ask of a caller. */
const [FIRST, LONGEST] = [100, 30_000];

/**
 * How long to wait before sending a request again, in milliseconds; undefined: not at all. A request that the
 * server has not begun to act on is always worth it, others only if they change nothing. Full jitter (a
 * random part of a wait that doubles) spreads out the clients of a server that comes back.
 *
 * @param attempt how often it has been sent, from 1
 */
export function waitAfter(
  error: unknown,
  request: ApiRequest,
  attempt: number,
  random: () => number,
): number | undefined {
  const jitter = random() * FIRST * 2 ** (attempt - 1);
  if (error instanceof TransitError) return isSafe(request) || !error.sent ? jitter : undefined;
  if (!(error instanceof ApiError)) return undefined;
  const { status, retryAfter } = error;
  // The token may just have been replaced; it has been read again by then.
  if (status === 401) return attempt === 1 ? 0 : undefined;
  if (status !== 429 && status < 500) return undefined;
  // Clients that were turned away together should not return together.
  if (retryAfter !== undefined) return retryAfter > LONGEST ? undefined : retryAfter + random() * 1000;
  return status === 429 || isSafe(request) ? jitter : undefined;
}
