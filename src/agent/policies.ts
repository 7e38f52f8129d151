import { publishedPods } from '../policy/node/published.ts';
import type { NodePods, PodRegistry, PolicyFeed } from '../store/ports/policies.ts';
import type { Facts } from './facts.ts';
import type { Flowtables } from './policy/flowtables.ts';
import type { PolicyLog } from './policy/log.ts';

/** The parts of the store that policies are about. Absent: it has none; others tell it of pods. */
type PolicyStore = {
  readonly policies?: PolicyFeed | undefined;
  readonly pods?: PodRegistry | undefined;
};

/**
 * Passes the store's policies to the facts, as long as the network wants them enforced, and tells it of this
 * node's pods.
 */
export async function followPolicies(
  facts: Facts,
  { policies: feed, pods }: PolicyStore,
  signal: AbortSignal,
): Promise<void> {
  if (!feed) return;
  facts.policy.areServed = true;
  while (!signal.aborted) {
    await until(facts, () => areWanted(facts), signal);
    const ended = new AbortController();
    const unwanted = until(facts, () => !areWanted(facts), signal).then(() => ended.abort());
    if (pods) tellOfPods(facts, pods, ended.signal);
    for await (const view of feed.watch(ended.signal)) facts.policy.setView(view);
    await unwanted;
    if (!signal.aborted) facts.policy.setView(undefined);
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
    await policyLog.listen(group, ended.signal, (listens) =>
      facts.policy.setLogGroup(listens ? group : undefined),
    );
    await unwanted;
    // An agent that stops changes nothing.
    if (!signal.aborted) facts.policy.setLogGroup(undefined);
  }
}

/** Finds out whether the kernel can offload connections, once the network wants that. */
export async function tryFlowtables(
  facts: Facts,
  flowtables: Flowtables,
  signal: AbortSignal,
): Promise<void> {
  await until(facts, () => facts.network?.policy?.offload === true, signal);
  if (signal.aborted) return;
  facts.policy.setFlowtables(await flowtables.areThere());
}

const groupOf = ({ network }: Facts): number | undefined => network?.policy?.logGroup;

const areWanted = ({ network }: Facts): boolean => network?.policy !== undefined;

/** Only a member has its name for certain: another machine's pods may be there under it. */
function tellOfPods(facts: Facts, registry: PodRegistry, signal: AbortSignal): void {
  if (signal.aborted) return;
  const { node } = facts.options;
  const told = (): NodePods | undefined => {
    if (!facts.isMember) return undefined;
    return { pods: publishedPods(facts.pods.list(), node), areAll: facts.pods.areComplete };
  };
  const changed = registry.keep(node, told, signal);
  let wasMember = facts.isMember;
  const look = (): void => {
    if (facts.isMember && !wasMember) changed();
    wasMember = facts.isMember;
  };
  facts.on('pods', changed);
  facts.on('changed', look);
  signal.addEventListener('abort', () => {
    facts.off('pods', changed);
    facts.off('changed', look);
  });
}

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
