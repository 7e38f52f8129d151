import { pause } from '../../async/pause.ts';
import type { PolicyView } from '../../policy/model/view.ts';

/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 20;

/** Milliseconds between two looks at a view that is not to be believed yet. */
const LOOK = 500;

/** What is known of policies; `isComplete` once that is all. */
export type PolicyState = {
  readonly isComplete: boolean;
  /** Undefined: not to be believed yet. */
  readonly view: () => PolicyView | undefined;
};

/** Yields a view once the state is complete, and after every change, of which it calls `wake`. */
export async function* viewsOf(
  start: (signal: AbortSignal, wake: () => void) => PolicyState,
  signal: AbortSignal,
): AsyncGenerator<PolicyView> {
  let news = Promise.withResolvers<void>();
  const wake = (): void => news.resolve();
  signal.addEventListener('abort', wake);
  const state = start(signal, wake);
  try {
    while (!signal.aborted) {
      await news.promise;
      await pause(COALESCE, signal);
      news = Promise.withResolvers<void>();
      if (signal.aborted || !state.isComplete) continue;
      const view = state.view();
      if (view) yield view;
      else {
        await pause(LOOK, signal);
        wake();
      }
    }
  } finally {
    signal.removeEventListener('abort', wake);
  }
}
