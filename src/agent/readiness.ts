import type { Facts } from './facts.ts';

/** What else may keep a node from taking pods; undefined: nothing does. */
export type Problems = {
  /** What the kernel lacks of the node's own part. */
  readonly kernel: string | undefined;
  /** Of the backend's companion. */
  readonly companion: string | undefined;
};

/** Why this node can't take pods, the first reason in the order of a start; undefined when it can. */
export function notReady(facts: Facts, { kernel, companion }: Problems): string | undefined {
  const { underlay, network, subnets, obstacle } = facts;
  if (!underlay) return `no underlay: ${obstacle || 'no interface has been looked for yet'}`;
  if (!network) return `no network configuration: ${obstacle || 'the store has not answered yet'}`;
  if (!subnets) return `no subnet: ${obstacle || 'the store has not answered yet'}`;
  return kernel ?? doubt(facts) ?? companion;
}

function doubt({ standing }: Facts): string | undefined {
  if (standing === 'remembered') return 'the store has not confirmed its subnets yet';
  if (standing === 'lost') return 'its subnets were taken by another node';
  return undefined;
}
