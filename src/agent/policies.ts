import type { PolicyFeed } from '../store/ports/policies.ts';
import type { Facts } from './facts.ts';
import type { PolicyLog } from './policy/log.ts';

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

/**
 * Hears of the packets that policies deny or want logged, as long as the network wants policies enforced.
 * Begins before these are known, so that the tables need not be written twice.
 */
export async function hearOfPackets(facts: Facts, policyLog: PolicyLog, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await until(facts, () => areWanted(facts), signal);
    const group = groupOf(facts);
    if (group === undefined) continue;
    const ended = new AbortController();
    const unwanted = until(facts, () => groupOf(facts) !== group, signal).then(() => ended.abort());
    await policyLog.listen(group, ended.signal, (listens) => facts.setLogGroup(listens ? group : undefined));
    await unwanted;
    // An agent that stops changes nothing.
    if (!signal.aborted) facts.setLogGroup(undefined);
  }
}

const groupOf = ({ network }: Facts): number | undefined => network?.policy?.logGroup;

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
