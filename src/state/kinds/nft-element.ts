import { type ElementText, elementOf } from '../../linux/nftables/values/element.ts';
import { type TableId, tableName } from '../../linux/nftables/values/table.ts';
import { equal } from '../kind.ts';
import { isOurTable } from '../ownership.ts';
import type { NftKind } from '../protocols/nftables.ts';
import { membersOf, tableKey } from './nft-table.ts';

/**
 * One element of a set or map, as canonical text: `10.0.0.0/24`, `"eth0" . tcp . 80`, with data `goto web`.
 * Contributed by the pod or peer it concerns, and added and removed without touching the table.
 */
export type NftElementItem = TableId & ElementText & { readonly kind: 'nft-element' };

export const nftElement: NftKind<NftElementItem> = {
  kind: 'nft-element',
  executor: 'nftables',
  key: (item) => `nft-element ${tableName(item)} ${item.set} ${item.key}`,
  parent: tableKey,
  // In one transaction with its table, where a range may also replace a removed one.
  stage: () => 'tables',
  isRemovedInPlace: true,
  isOurs: ({ table }) => isOurTable(table),
  same: equal,
  command: (item, action) => {
    const data = item.data === undefined || action === 'delete' ? '' : ` : ${item.data}`;
    return `nft ${action} element ${tableName(item)} ${item.set} '{ ${item.key}${data} }'`;
  },
  forward: (item, { sets }) => void membersOf(sets, item, item.set).add(item.key),
};

/** Converts an element, as returned by `elementOf`, to an item. */
export function elementItem(table: TableId, element: ElementText): NftElementItem {
  return { kind: 'nft-element', family: table.family, table: table.table, ...element };
}

export { elementOf };
