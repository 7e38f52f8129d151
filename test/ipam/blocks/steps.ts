import type { BlockStore } from '../../../src/store/ports/blocks.ts';

/** The methods that change a store object: a node may be killed between any two of them. */
export const STEPS = [
  'createBlock',
  'replaceBlock',
  'deleteBlock',
  'announce',
  'setAffinity',
  'deleteAffinity',
  'writeHandle',
  'deleteHandle',
  'configure',
] as const;

export type Step = (typeof STEPS)[number];

/** Hooks around the steps of one node; may be changed at any time. */
export class StepHooks {
  before: (step: Step) => Promise<void> | void = () => {};
  after: (step: Step) => Promise<void> | void = () => {};
}

/** Wraps the store to call the hooks around each step. `count` is called for every request. */
export function hooked(
  store: BlockStore,
  hooks: StepHooks,
  count: (name: string) => void = () => {},
): BlockStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const step = STEPS.find((each) => each === name);
      return async (...parameters: unknown[]) => {
        count(String(name));
        if (step) await hooks.before(step);
        const result: unknown = await Reflect.apply(value, target, parameters);
        if (step) await hooks.after(step);
        return result;
      };
    },
  });
}
