import { test } from 'node:test';
import { anyValue, badConfig, damagedLease, mutatedValues } from './hostile-values.ts';

/** The lab's own store. */
const embedded = async (): Promise<AsyncDisposable> => ({ [Symbol.asyncDispose]: async () => {} });

test('a bad network/config: the last good one stays in force, also over a restart', () =>
  badConfig(embedded));
test('any value under any key: the agents live, pods keep their network, and what is restored heals', (t) =>
  anyValue(t, embedded));
test('a peer whose lease is damaged stays reachable, also while nobody restores it', () =>
  damagedLease(embedded));
test('mutated values of every kind: the agents live, and what is restored heals', (t) =>
  mutatedValues(t, embedded));
