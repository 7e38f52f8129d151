import type { PolicyFeed } from '../store/ports/policies.ts';
import type { Facts } from './facts.ts';

/** Passes the store's policies to the facts, as long as the network wants them enforced. */
export async function followPolicies(
  facts: Facts,
  feed: PolicyFeed | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (!feed) return;
  facts.hasPolicies = true;
  while (!signal.aborted) {
    await until(facts, () => areWanted(facts), signal);
    const ended = new AbortController();
    const unwanted = until(facts, () => !areWanted(facts), signal).then(() => ended.abort());
    for await (const view of feed.watch(ended.signal)) facts.setPolicies(view);
    await unwanted;
    if (!signal.aborted) facts.setPolicies(undefined);
  }
}

const areWanted = ({ network }: Facts): boolean => network?.policy !== undefined;

/** Waits until something holds, or the signal aborts. */
async function until(facts: Facts, holds: () => boolean, signal: AbortSignal): Promise<void> {
  const come = Promise.withResolvers<void>();
  const look = (): void => {
    if (holds() || signal.aborted) come.resolve();
  };
  facts.on('changed', look);
  signal.addEventListener('abort', look);
  look();
  await come.promise;
  facts.off('changed', look);
  signal.removeEventListener('abort', look);
}
