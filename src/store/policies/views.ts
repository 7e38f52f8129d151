import { pause } from '../../async/pause.ts';
import type { PolicyView } from '../../policy/model/view.ts';

/** Changes within this many milliseconds are combined into one view. */
const COALESCE = 20;

/** What is known of policies; `isComplete` once that is all. */
export type PolicyState = { readonly isComplete: boolean; readonly view: () => PolicyView };

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
      if (!signal.aborted && state.isComplete) yield state.view();
    }
  } finally {
    signal.removeEventListener('abort', wake);
  }
}
