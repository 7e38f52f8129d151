import type { Network } from '../../cluster/network.ts';

/** The configuration of the pod network: one object, the same for every node. */
export interface NetworkStore {
  /** Throws NOT_FOUND when nobody has written one, CONFIG_INVALID when it makes no sense. */
  read(): Promise<Network>;
  /** Replaces it. Agents hear of the change through the feed. */
  write(network: Network): Promise<void>;
}
