import { messageOf } from '../../error.ts';

/** Why a request failed; of `fetch`, only the cause tells. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  // Of several addresses, each has failed for a reason of its own.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause;
  return messageOf(first instanceof Error && first.message ? first : error);
}
