import type { Attributes } from '../../linux/netlink/message.ts';
import type { TableId } from '../../linux/nftables/message.ts';

/** linux/netfilter.h. */
export const NF_INET_PRE_ROUTING = 0;
export const NF_INET_FORWARD = 2;

/** A chain that packets of a hook pass through. */
export type BaseChain = TableId & {
  readonly chain: string;
  /** Applies to packets that no rule decides. */
  readonly policy: 'accept' | 'drop';
  /** `filter`, `nat` or `route`. */
  readonly type: string;
  /** A hook's chains of all families run from the lowest to the highest. */
  readonly priority: number;
};

/** One expression of a rule: `cmp`, `payload`, … with its attributes. */
export type Expression = { readonly name: string; readonly data: Attributes };
export type Rule = readonly Expression[];

/** The rules of a network namespace, read on demand. */
export type Ruleset = {
  /**
   * The base chains of a hook (NF_INET_*) in `ip`, `ip6` and `inet`, in the order in which packets traverse
   * them.
   */
  baseChains(hook: number): Promise<readonly BaseChain[]>;
  table(name: TableId): Table;
};

export type Table = {
  /** In order; none for a chain that no longer exists. */
  rules(chain: string): Promise<readonly Rule[]>;
  /**
   * Length of a set's key in bytes, each field of a concatenation padded to four; undefined for an unknown
   * set.
   */
  keyLength(set: string): Promise<number | undefined>;
  /** Whether the set contains the key, as an element or within a range. */
  inSet(set: string, key: Uint8Array): Promise<boolean>;
};
