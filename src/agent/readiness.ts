import type { Facts } from './facts.ts';

/** Other reasons not to take pods; undefined for none. */
export type Problems = {
  /** Why the kernel doesn't hold the node's own part of the desired state. */
  readonly kernel: string | undefined;
  /** Why the backend's companion is not ready. */
  readonly companion: string | undefined;
};

/** Returns why this node can't take pods: the first reason in startup order; undefined when it can. */
export function notReady(facts: Facts, { kernel, companion }: Problems): string | undefined {
  const { underlay, network, subnets } = facts;
  if (!underlay)
    return `no underlay: ${facts.obstacle('underlay') ?? 'the interfaces have not been read yet'}`;
  if (!network)
    return `no network configuration: ${facts.obstacle('network') ?? 'no answer from the store yet'}`;
  if (!subnets) return `no subnet: ${facts.obstacle('subnets') ?? 'no answer from the store yet'}`;
  return kernel ?? doubt(facts) ?? companion;
}

function doubt(facts: Facts): string | undefined {
  const reason = facts.obstacle('subnets');
  const because = reason === undefined ? '' : `: ${reason}`;
  if (facts.standing === 'remembered') return `the store has not confirmed its subnets yet${because}`;
  if (facts.standing === 'lost') return `another node has taken its subnets${because}`;
  return undefined;
}
