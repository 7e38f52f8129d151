import { ANSWERS } from '../../cluster/policy-options.ts';
import { type Family, familyOf } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import type { SetValue, TableId } from '../../linux/nftables/values/table.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';
import type { PodEntity } from '../model/entity.ts';

/** Bytes of a packet that are passed on. Answers by UDP rarely have more than 1232, and hardly ever 4096. */
export const ANSWER_BYTES = 8192;

/**
 * `held`: answers wait until the agent has seen to them (NFQUEUE). `copied`: they go on, and the agent gets
 * copies (NFLOG).
 */
export type Observed = 'held' | 'copied';

export type Observation = {
  readonly observed: Observed;
  /** Pods of this node whose answers matter. */
  readonly askers: readonly PodEntity[];
  /** Whose answers are believed. None lies in another. */
  readonly resolvers: readonly Cidr[];
  readonly families: readonly Family[];
};

/** What a pod may be answered before the agent sees no more of it: whatever arrives beyond costs a lookup. */
const LIMIT = 'rate over 200/second burst 400 packets';

/**
 * Where an agent is not listening, an answer passes all the same: what it would have opened stays closed, and
 * names can still be resolved.
 */
const RULES = {
  held: `queue num ${ANSWERS} bypass`,
  copied: `log group ${ANSWERS} snaplen ${ANSWER_BYTES} queue-threshold 1`,
} as const satisfies Record<Observed, string>;

const tableOf = (family: Family) =>
  ({ family: family === 4 ? 'ip' : 'ip6', table: 'flatnet-names' }) as const satisfies TableId;

type Addresses = SetValue<readonly ['ipv4_addr' | 'ipv6_addr'], undefined>;

const askers = (family: Family): Addresses => ({
  name: 'askers',
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
});
const resolvers = (family: Family): Addresses => ({
  name: 'resolvers',
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
  interval: true,
});

/** Pods that have been answered, each with what is left to it. */
const busy = (family: Family): SetValue => ({
  name: 'busy',
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
  size: 4096,
  dynamic: { timeout: '1m' },
});

/**
 * The table that passes the answers of trusted resolvers to the agent, on their way to pods: from other hosts
 * and pods, and from this node. The source is who answers in truth, as it is before a service's translation
 * is undone, and only what conntrack knows as the answer to a pod's question has the direction `reply`. So a
 * pod that answers for itself or for others, or at the address of a service that leads to it, is not
 * believed. What conntrack does not know is believed of the node itself: NodeLocal DNSCache has its packets
 * not tracked.
 */
export function observationTable(observed: Observed, family: Family): NftTableItem {
  const ip = family === 4 ? 'ip' : 'ip6';
  const answer = `udp sport 53 ${ip} daddr @${askers(family).name} ${ip} saddr @${resolvers(family).name}`;
  const asked = { rule: `${answer} ct state established ct direction reply jump answers` };
  const untracked = { rule: `${answer} ct state untracked fib saddr type local jump answers` };
  return {
    kind: 'nft-table',
    ...tableOf(family),
    sets: [askers(family), resolvers(family), busy(family)],
    chains: [
      // A packet from the queue goes on behind its chain, which is its own therefore.
      ...(['forward', 'output'] as const).map((hook) => ({
        name: hook,
        hook: { type: 'filter', hook, priority: 'filter + 5' } as const,
        rules: hook === 'output' ? [asked, untracked] : [asked],
      })),
      {
        name: 'answers',
        rules: [
          { rule: `update @${busy(family).name} { ${ip} daddr limit ${LIMIT} } accept` },
          { rule: RULES[observed] },
        ],
      },
    ],
  };
}

/** What the kernel holds for the agent to see answers. */
export function observationItems({
  observed,
  families,
  ...who
}: Observation): (NftTableItem | NftElementItem)[] {
  const asking = who.askers.flatMap(({ addresses }) => addresses);
  return families.flatMap((family) => [
    observationTable(observed, family),
    ...asking
      .filter((ip) => familyOf(ip) === family)
      .map((ip) => elementItem(tableOf(family), elementOf(askers(family), [ip]))),
    ...who.resolvers
      .filter((net) => familyOf(net) === family)
      .map((net) => elementItem(tableOf(family), elementOf(resolvers(family), [net]))),
  ]);
}
