import type { Network } from '../../cluster/network.ts';
import type { Stored } from './blocks.ts';

/**
 * Throws CONFIG_INVALID for a network that this release cannot use: the store knows no backends, so its owner
 * checks their options.
 */
export type CheckNetwork = (network: Network) => void;

/** The configuration of the pod network: one object, the same for every node. */
export interface NetworkStore {
  /** Throws NOT_FOUND when there is none, CONFIG_INVALID when it is invalid. */
  read(): Promise<Network>;
  /** Replaces it. Agents receive the change through the feed. */
  write(network: Network): Promise<void>;
  /** Returns the net-conf.json as it was written, valid or not; undefined when there is none. */
  text(): Promise<Stored<string> | undefined>;
  /**
   * Replaces the net-conf.json that was `read` (undefined: there was none), and keeps the keys that flatnet
   * does not know. Throws CONFIG_INVALID; STORE_CONFLICT when it has changed since.
   */
  replace(read: Stored<string> | undefined, text: string): Promise<void>;
}
