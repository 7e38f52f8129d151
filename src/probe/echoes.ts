import { pause } from '../async/pause.ts';
import type { Ip } from '../ip/address.ts';
import type { Echoes } from './evidence.ts';
import type { EchoOptions, Outcome, Pinger } from './pinger.ts';
import { search } from './search.ts';

/** Milliseconds between two packets to one peer. */
const INTERVAL = 15;
/** How often each size is tried in a search: one may be lost. */
const TRIES = 2;
/** Milliseconds to wait for each: too large ones are many. */
const SEARCH_PATIENCE = 500;

/** Bytes of a small packet. */
export const SMALL = 84;

/** Sends `count` small echo requests and as many of `size` bytes, in turn. */
export async function echoes(
  pinger: Pinger,
  to: Ip,
  { size, count, ...options }: EchoOptions & { readonly size: number; readonly count: number },
): Promise<Echoes> {
  const small: Promise<Outcome>[] = [];
  const full: Promise<Outcome>[] = [];
  for (let i = 0; i < count; i++) {
    small.push(pinger.echo(to, SMALL, options));
    await pause(INTERVAL);
    full.push(pinger.echo(to, size, options));
    await pause(INTERVAL);
  }
  const outcomes = { small: await Promise.all(small), full: await Promise.all(full) };
  const tally = (all: readonly Outcome[]) => ({ sent: all.length, answered: all.filter(isAnswer).length });
  const refusal = outcomes.small.map(refusalOf).find((errno) => errno !== undefined);
  return {
    small: tally(outcomes.small),
    full: tally(outcomes.full),
    ...(refusal !== undefined && { refusal }),
  };
}

/** Returns the size of the largest packet that is answered, in bytes, as `search` does. */
export function largestPacket(
  pinger: Pinger,
  to: Ip,
  { least, most, ...options }: EchoOptions & { readonly least: number; readonly most: number },
): Promise<number> {
  return search(least, most, (size) => passesOnce(pinger, to, size, options));
}

async function passesOnce(pinger: Pinger, to: Ip, size: number, options: EchoOptions): Promise<boolean> {
  const patience = SEARCH_PATIENCE;
  const tries = Array.from({ length: TRIES }, () => pinger.echo(to, size, { ...options, patience }));
  return (await Promise.all(tries)).some(isAnswer);
}

function isAnswer(outcome: Outcome): boolean {
  return outcome === 'answered';
}

function refusalOf(outcome: Outcome): string | undefined {
  return typeof outcome === 'object' && 'refused' in outcome ? outcome.refused : undefined;
}
