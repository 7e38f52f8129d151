import { type Ip, isIp, parseIp } from '../../ip/address.ts';
import type { Known } from './cache.ts';

const VERSION = 1;

/** A moment by a clock that never goes back, and by the wall's, both in milliseconds. */
export type Moment = { readonly steady: number; readonly wall: number };

/** What is known, for the next agent: what each pod was told, and the seconds left of it. */
export function savedNames(all: readonly Known[], { steady, wall }: Moment): string {
  const of = ({ name, ip, until }: Known) => ({ name, ip, seconds: Math.round((until - steady) / 1000) });
  const pods = [...Map.groupBy(all, ({ asker }) => asker)].map(([pod, known]) => ({
    pod,
    known: known.map(of),
  }));
  return JSON.stringify({ version: VERSION, at: wall, pods });
}

/**
 * What was known, also what has run out since. A clock that was put back makes nothing hold longer. Nothing
 * of a text in another shape: what is not known is learned again. Throws SyntaxError.
 */
export function readNames(text: string, { steady, wall }: Moment): readonly Known[] {
  const saved: unknown = JSON.parse(text);
  if (!isObject(saved) || saved.version !== VERSION || typeof saved.at !== 'number') return [];
  const passed = Math.max(0, wall - saved.at);
  return listOf(saved.pods).flatMap(({ pod, known }) =>
    listOf(known).flatMap(({ name, ip, seconds }) => {
      const [asker, address] = [ipOf(pod), ipOf(ip)];
      if (!asker || !address || typeof name !== 'string' || !Number.isFinite(seconds)) return [];
      return [{ asker, name, ip: address, until: steady + (seconds as number) * 1000 - passed }];
    }),
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function listOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function ipOf(value: unknown): Ip | undefined {
  return typeof value === 'string' && isIp(value) ? parseIp(value) : undefined;
}
