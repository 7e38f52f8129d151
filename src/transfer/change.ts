import { isDeepStrictEqual } from 'node:util';

/** One object of a file, compared with the store. */
export type Change = {
  /** For people: `block 10.0.0.0/26`. */
  readonly object: string;
  /** `refused`: not even to be replaced. */
  readonly state: 'absent' | 'same' | 'different' | 'refused';
  /** What is different or refused. */
  readonly why?: string;
  /** What must be there before anything that follows: done for all objects before the first is written. */
  readonly announce?: () => Promise<unknown>;
  readonly write: () => Promise<unknown>;
};

/** Names the members that differ. */
export function difference(found: unknown, wanted: unknown): Pick<Change, 'state' | 'why'> {
  if (isDeepStrictEqual(found, wanted)) return { state: 'same' };
  const [before, after] = [members(found), members(wanted)];
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  const differing = keys.filter((key) => !isDeepStrictEqual(before.get(key), after.get(key)));
  return { state: 'different', why: `${differing.join(', ') || 'all of it'} differs` };
}

function members(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
}
