import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carryOut } from '../../../src/takeover/node/carry-out.ts';
import type { Line, Obstacle, Plan } from '../../../src/takeover/plan.ts';

/** A node on which each step makes one name true. */
class Node {
  readonly done: string[] = [];
  readonly tries: string[] = [];
  readonly #wanted: readonly string[];
  readonly #obstacles: readonly Obstacle[];
  /** The number of steps after which it fails; once. */
  failsAfter = Number.POSITIVE_INFINITY;

  constructor(wanted: readonly string[], obstacles: readonly Obstacle[] = []) {
    this.#wanted = wanted;
    this.#obstacles = obstacles;
  }

  run(): Promise<Plan<Line>> {
    return carryOut({ plan: async () => this.#plan(), take: (step) => this.#take(step), say: () => {} });
  }

  #plan(): Plan<Line> {
    const todo = this.#wanted.filter((name) => !this.done.includes(name));
    const steps = todo.map((object): Line => ({ action: 'adopt', object, text: '' }));
    return { steps: [{ action: 'keep', object: 'lease', text: '' }, ...steps], obstacles: this.#obstacles };
  }

  async #take({ object }: Line): Promise<string | undefined> {
    if (this.done.length >= this.failsAfter) {
      this.failsAfter = Number.POSITIVE_INFINITY;
      throw new Error('interrupted');
    }
    this.tries.push(object);
    if (object === 'refused' || (object === 'later' && !this.done.includes('b')))
      return 'its MAC is another’s';
    if (object !== 'never') this.done.push(object);
    return undefined;
  }
}

test('an interrupted run goes on where it stopped, and takes no step twice', async () => {
  const wanted = ['a', 'b', 'c'];
  for (const failsAfter of [0, 1, 2]) {
    const node = new Node(wanted);
    node.failsAfter = failsAfter;
    await assert.rejects(node.run(), /interrupted/);
    assert.deepEqual(node.done, wanted.slice(0, failsAfter));
    const { steps } = await node.run();
    assert.deepEqual(node.done, wanted);
    assert.deepEqual(
      steps.map(({ object }) => object),
      ['lease'],
    );
  }
});

test('nothing is done while something is in the way', async () => {
  const node = new Node(['a'], [{ what: 'flanneld runs', fix: 'stop it' }]);
  await assert.rejects(node.run(), { code: 'IN_USE', message: 'takeover: flanneld runs; stop it' });
  assert.deepEqual(node.done, []);
});

test('a step that has no effect ends the run, and is named', async () => {
  const node = new Node(['a', 'never']);
  await assert.rejects(node.run(), { code: 'TIMEOUT', message: /still to do: adopt never$/ });
  assert.deepEqual(node.done, ['a']);
});

test('a refused step stops no other, and is named at the end if it still is', async () => {
  const node = new Node(['later', 'refused', 'a', 'b']);
  await assert.rejects(node.run(), {
    code: 'CNI',
    message: 'takeover: all but this is done: adopt refused: its MAC is another’s',
  });
  assert.deepEqual(node.done, ['a', 'b', 'later']);
  assert.deepEqual(node.tries, ['later', 'refused', 'a', 'b', 'later', 'refused', 'refused']);
});

test('a step that is refused only at first is none of the end’s business', async () => {
  const node = new Node(['later', 'b']);
  await node.run();
  assert.deepEqual(node.done, ['b', 'later']);
});
