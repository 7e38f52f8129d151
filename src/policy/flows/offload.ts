import type { Flowtable } from '../../linux/nftables/values/table.ts';
import { elementItem, elementOf, type NftElementItem } from '../../state/kinds/nft-element.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';
import type { PolicyFacts } from '../compile/facts.ts';

const TABLE = { family: 'inet', table: 'flatnet-offload' } as const;
const FAST: Flowtable = { name: 'fast', priority: 'filter' };

/**
 * Hands connections of pods, once they last, to a flowtable: from then on their packets go from device to
 * device without passing any chain. A table of its own, as kernels may lack this; after all others of the
 * hook, as what any of them drops must not get this far. Bridged packets have no route that could be
 * remembered.
 */
export function offloadTable({ devices, bridge }: Pick<PolicyFacts, 'devices' | 'bridge'>): NftTableItem {
  const ofPods = ['iifname', 'oifname'].flatMap((at) => [`${at} "${devices}*"`, `${at} "${bridge}"`]);
  return {
    kind: 'nft-table',
    ...TABLE,
    flowtables: [FAST],
    chains: [
      {
        name: 'forward',
        hook: { type: 'filter', hook: 'forward', priority: 'filter + 200' },
        rules: [
          { rule: 'ct state != established accept' },
          // A question and its answer are not worth an entry.
          { rule: 'ct status ! assured accept' },
          { rule: 'meta l4proto != { tcp, udp } accept' },
          { rule: 'udp sport 53 accept', comment: 'answers about domain names must be seen' },
          { rule: 'udp dport 53 accept' },
          { rule: `iifname "${bridge}" oifname "${bridge}" accept`, comment: 'bridged' },
          ...ofPods.map((rule) => ({ rule: `${rule} flow add @${FAST.name}` })),
        ],
      },
    ],
  };
}

/** A device by which offloaded packets arrive. */
export function offloadDevice(name: string): NftElementItem {
  return elementItem(TABLE, elementOf(FAST, [name]));
}
