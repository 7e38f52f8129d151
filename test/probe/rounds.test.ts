import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathReport, PathState } from '../../src/probe/report.ts';
import { Rounds } from '../../src/probe/rounds.ts';

function report(peer: string, state: PathState): PathReport {
  return { peer, family: 4, state, what: `${peer} is ${state}` };
}

test('few peers at a time, each in turn, however many there are', () => {
  const peers = Array.from({ length: 500 }, (_, i) => `node${i}`);
  const rounds = new Rounds(5);
  const seen = new Map<string, number>();
  for (let i = 0; i < 200; i++) {
    const chosen = rounds.next(peers);
    assert.equal(chosen.length, 5);
    for (const name of chosen) {
      seen.set(name, (seen.get(name) ?? 0) + 1);
      rounds.note(name, [report(name, 'well')]);
    }
  }
  assert.equal(seen.size, 500);
  assert.deepEqual(new Set(seen.values()), new Set([2]));
  assert.deepEqual(rounds.summary, { tested: 500, peers: 500, broken: 0 });
});

test('even if every peer is suspect, a round has twice as many at most, and all get their turn', () => {
  const peers = Array.from({ length: 100 }, (_, i) => `node${i}`);
  const rounds = new Rounds(5);
  const seen = new Set<string>();
  for (let i = 0; i < 25; i++) {
    const chosen = rounds.next(peers);
    assert.ok(chosen.length <= 10);
    for (const name of chosen) {
      seen.add(name);
      rounds.note(name, [report(name, 'down')]);
    }
  }
  assert.equal(seen.size, 100);
});

test('trouble is told once it lasts, and no longer than that', () => {
  const rounds = new Rounds(1);
  const peers = ['a', 'b', 'c', 'd', 'e', 'f'];
  const pass = (state: PathState): void => {
    for (const name of rounds.next(peers)) rounds.note(name, [report(name, name === 'c' ? state : 'well')]);
  };
  let passes = 0;
  for (; rounds.problems.length === 0; passes++) {
    assert.ok(passes < 20);
    pass('blocked');
  }
  assert.deepEqual(rounds.problems, [{ id: 'path-blocked', severity: 'warning', what: 'c is blocked' }]);
  assert.equal(rounds.summary.broken, 1);
  assert.ok(rounds.next(peers).includes('c'), 'a suspect is probed in every round');
  rounds.note('c', [report('c', 'untested')]);
  assert.deepEqual(rounds.problems, []);
});

test('a single bad report is no problem', () => {
  const rounds = new Rounds(1);
  for (const state of ['down', 'down', 'well', 'down', 'down'] as const) {
    rounds.next(['a']);
    rounds.note('a', [report('a', state)]);
    assert.deepEqual(rounds.problems, []);
  }
});

test('a failure of the whole network does not fill the status, and who leaves is forgotten', () => {
  const peers = Array.from({ length: 50 }, (_, i) => `node${i}`);
  const rounds = new Rounds(50);
  for (let i = 0; i < 3; i++) {
    for (const name of rounds.next(peers)) rounds.note(name, [report(name, 'down')]);
  }
  const { problems } = rounds;
  assert.equal(problems.length, 6);
  assert.deepEqual(problems.at(-1), {
    id: 'peer-silent',
    severity: 'warning',
    what: 'the same of 45 more peers',
    fix: 'see flatnet doctor',
  });
  rounds.next([]);
  assert.deepEqual([rounds.problems, rounds.summary], [[], { tested: 0, peers: 0, broken: 0 }]);
});
