/** What a step does to an object: `keep` and `leave` only say so, the others change something. */
export type Action = 'keep' | 'leave' | 'write' | 'move' | 'adopt' | 'remove';

/** One line of a plan, for people. */
export type Line = { readonly action: Action; readonly object: string; readonly text: string };

/** Why nothing is done yet, and what to do about it. */
export type Obstacle = { readonly what: string; readonly fix: string };

/** What a takeover would do to a node. Without obstacles and steps that change something, it is done. */
export type Plan<S extends Line = Line> = {
  readonly steps: readonly S[];
  readonly obstacles: readonly Obstacle[];
};

/** The steps that change something. */
export function changes<S extends Line>({ steps }: Plan<S>): S[] {
  return steps.filter(({ action }) => action !== 'keep' && action !== 'leave');
}
