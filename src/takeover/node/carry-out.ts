import { FlatnetError } from '../../error.ts';
import { changes, type Line, type Plan } from '../plan.ts';

/** How a plan is carried out. */
export type Actors<S extends Line> = {
  /** Reads the node again, and plans. */
  readonly plan: () => Promise<Plan<S>>;
  /** Takes a step that changes something. It may have been taken before. Returns why it is refused. */
  readonly take: (step: S) => Promise<string | undefined>;
  /** Tells of a step before it is taken. */
  readonly say: (text: string) => void;
};

/** Two are usual: pods that were being made when it began are there in the second. */
const ROUNDS = 5;

/**
 * Carries out a plan, step by step, until none is left. What has been done is read from the node, so that an
 * interrupted run goes on where it stopped. A refused step stops no other; those still refused at the end are
 * named. Throws IN_USE while something is in the way, before anything is changed.
 */
export async function carryOut<S extends Line>({ plan, take, say }: Actors<S>): Promise<Plan<S>> {
  const operation = 'takeover';
  let refused = new Map<string, string>();
  let isStuck = false;
  for (let round = 1; ; round++) {
    const current = await plan();
    const [obstacle] = current.obstacles;
    if (obstacle) throw new FlatnetError(obstacle.what, { code: 'IN_USE', operation, fix: obstacle.fix });
    const todo = changes(current);
    if (todo.length === 0) return current;
    if (round > ROUNDS) {
      const what = todo.map(({ action, object }) => `${action} ${object}`).join(', ');
      throw new FlatnetError(`after ${ROUNDS} rounds, still to do: ${what}`, { code: 'TIMEOUT', operation });
    }
    if (isStuck && todo.every(({ object }) => refused.has(object))) {
      const what = todo.map(({ action, object }) => `${action} ${object}: ${refused.get(object)}`).join('; ');
      throw new FlatnetError(`all but this is done: ${what}`, { code: 'CNI', operation });
    }
    refused = new Map();
    for (const step of todo) {
      say(`${step.action} ${step.object}`);
      const reason = await take(step);
      if (reason !== undefined) refused.set(step.object, reason);
    }
    isStuck = refused.size === todo.length;
  }
}
